# Two users: the agent, and the jobs, which are strangers' code and may do nothing but compute.

for user in parallelize parallelize-job; do
	if ! id "$user" >/dev/null 2>&1; then
		useradd --system --user-group --no-create-home --home-dir /nonexistent \
			--shell /usr/sbin/nologin "$user"
	fi
done
