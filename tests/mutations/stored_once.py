"""The guards of what runs share: stored once, and swept beside those who begin to name it."""

from __future__ import annotations

from tests.mutations.mutation import CORE, Mutation

SWEEP = "tools/parallelize/runs/environment/sweep.py"
FILES = "agent/parallelize_agent/job/environment.py"
CONTENTS = f"{CORE}contents.py"
MODEL = "model/test_stored_once.py::"
NEVER = f"{MODEL}test_a_sweep_never_takes_away_what_a_run_names_or_is_about_to"
WHOLE = "functional/agent/test_stored_once.py::"

MUTATIONS = (
    Mutation(
        "named-before-the-look",
        "`prep` names the files of an environment before it looks which are there",
        "tools/parallelize/runs/environment/stored_once.py",
        "    store.put(wanted.list_key, files.pack())\n",
        "    files.pack()\n",
        (NEVER,),
    ),
    Mutation(
        "sweep-copies-first",
        "a sweep takes a content from its place only once it has a copy",
        SWEEP,
        "        store.copy_from(source, there.withdrawn_key(one.sha256, one.etag))\n",
        "        _ = source\n",
        (NEVER,),
    ),
    Mutation(
        "sweep-looks-again",
        "a sweep reads what runs name once more when nobody can find what it has withdrawn",
        SWEEP,
        "    named = _named(store, base)\n    gone = 0",
        "    named: dict[str, Listed] = {}\n    gone = 0",
        (NEVER,),
    ),
    Mutation(
        "sweep-takes-that-version",
        "a sweep takes away only the version that it has seen",
        SWEEP,
        "        store.delete_version(there.key(one.sha256), one.etag)\n",
        "        store.delete([there.key(one.sha256)])\n",
        (f"{MODEL}test_a_sweep_that_paused_takes_away_only_the_version_that_it_had_seen",),
    ),
    Mutation(
        "content-of-its-own-version",
        "a content that is stored once more is another version",
        CONTENTS,
        "gzip.GzipFile(uuid4().hex, ",
        'gzip.GzipFile("same", ',
        (f"{MODEL}test_a_sweep_that_paused_takes_away_only_the_version_that_it_had_seen",),
    ),
    Mutation(
        "unreadable-list-keeps-all",
        "what a run names is not swept because its list cannot be read",
        SWEEP,
        "    except MissingError:\n        return {}  # its",
        "    except (DecodeError, MissingError):\n        return {}  # its",
        (
            "unit/client/test_sweep.py::test_a_list_that_cannot_be_read_may_name_anything_so_all_stays",
        ),
    ),
    Mutation(
        "content-checksum",
        "a content counts only if its checksum is right",
        CONTENTS,
        "    if left or digest.hexdigest() != file.sha256:",
        "    if left:",
        (f"{WHOLE}test_a_content_that_is_something_else_is_refused",),
    ),
    Mutation(
        "copied-content-checksum",
        "what a set-up has changed is not copied into another environment",
        FILES,
        "            if _copied(source, target, file.size) == file.sha256:",
        "            if _copied(source, target, file.size):",
        (f"{WHOLE}test_what_a_set_up_has_changed_is_fetched",),
    ),
)
