"""The guards of inputs: sent whole and within limits, shared by runs, and swept beside a `prep`."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

SHARED = "tools/parallelize/runs/inputs/shared_inputs.py"
SWEEP = "tools/parallelize/runs/inputs/sweep_inputs.py"
UPLOADS = "tools/parallelize/runs/files/uploads.py"
TRANSFERS = "tools/parallelize/transfers.py"
MODEL = "model/test_shared_inputs.py::"
NEVER = f"{MODEL}test_a_sweep_never_takes_away_what_a_run_relies_on"
DOWNLOADS = "agent/parallelize_core/transport/downloads.py"
FETCHED = "functional/core/transport/test_downloads.py::"
UNIT = "unit/client/test_shared_inputs.py::"
SENDING = "unit/client/test_uploads.py::"
TRANSFER = "unit/client/test_transfers.py::"

MUTATIONS = (
    Mutation(
        "input-named-before-the-look",
        "`prep` names inputs before it looks which are there",
        SHARED,
        "            self.store.put(key, gzip.compress(body, mtime=0))\n",
        "            _ = key, body\n",
        (NEVER,),
    ),
    Mutation(
        "no-doomed-input",
        "`prep` relies on no input that a sweep may delete at any time",
        SHARED,
        "if self.place.relative(key) not in doomed:\n",
        "if doomed is not None:\n",
        (NEVER,),
    ),
    Mutation(
        "input-marked-first",
        "a sweep deletes an input only if it was marked as doomed before",
        SWEEP,
        '    for _ in in_parallel(lambda one: store.put(shared.doomed.key(one), b""), chosen):\n',
        "    for _ in ():\n",
        (NEVER,),
    ),
    Mutation(
        "inputs-named-meanwhile",
        "a sweep reads what inputs runs name once more when all see its marks",
        SWEEP,
        "    named = read_named(shared.store, shared.base)\n",
        "    named: set[str] = set()\n",
        (NEVER,),
    ),
    Mutation(
        "mark-outlasts-input",
        "a mark goes only after its input",
        SWEEP,
        "    _delete_marks(shared, going)\n",
        "    _delete_marks(shared, doomed)\n",
        (f"{MODEL}test_a_mark_stays_as_long_as_what_it_is_for",),
    ),
    Mutation(
        "input-of-its-own-key",
        "an input that is stored once more has another key",
        SHARED,
        "secrets.token_hex(4)",
        '"same"',
        (f"{UNIT}test_each_upload_has_a_key_of_its_own",),
    ),
    Mutation(
        "unreadable-names-keep-all",
        "no input is swept while a list of names cannot be read",
        SWEEP,
        "for _, body in bodies if body is not None)",
        'for _, body in bodies if body and body.startswith(b"\\x1f\\x8b"))',
        (f"{UNIT}test_a_list_that_cannot_be_read_may_name_anything_so_all_stays",),
    ),
    Mutation(
        "input-checksum",
        "a file that has changed since it was read is not stored by its old checksum",
        UPLOADS,
        "    sha256 = file.sha256 or hashlib.sha256(body).hexdigest()\n",
        "    sha256 = hashlib.sha256(body).hexdigest()\n",
        (f"{SENDING}test_a_file_is_not_stored_by_the_checksum_of_what_it_was_before",),
    ),
    Mutation(
        "input-written-since-hashed",
        "this holds, too, if the service compares no checksums",
        UPLOADS,
        "    if file.sha256 and (found.st_mtime_ns,",
        "    if not body and (found.st_mtime_ns,",
        (f"{SENDING}test_a_file_that_was_written_since_it_was_hashed_is_not_sent",),
    ),
    Mutation(
        "input-written-while-sent",
        "a file that was written while it was sent is not used",
        UPLOADS,
        "        if _has_changed(file, size, modified_ns):\n            raise _changed(file)\n"
        "        self._told",
        "        self._told",
        (f"{SENDING}test_a_file_that_changes_while_it_is_sent_is_named",),
    ),
    Mutation(
        "input-written-while-looked-up",
        "a file that is written while `prep` looks for its content is sent as it is then",
        SHARED,
        "if there.get(c.sha256)}",
        "if there[c.sha256]}",
        (f"{UNIT}test_a_file_that_is_written_while_uploads_are_looked_up_is_sent_as_it_is_then",),
    ),
    Mutation(
        "bytes-have-a-limit",
        "no more bytes of files are in memory than the budget has",
        TRANSFERS,
        "lambda: not self._used or self._used + size <= self._total",
        "lambda: True",
        (f"{TRANSFER}test_no_more_is_in_memory_than_the_budget_has",),
    ),
    Mutation(
        "bytes-of-a-thin-line",
        "no more bytes are on their way than the line carries in two seconds",
        TRANSFERS,
        "            self._total = self._carried(size)\n",
        "            self._total = self._most\n",
        (f"{TRANSFER}test_as_much_is_on_its_way_as_the_line_carries_in_two_seconds",),
    ),
    Mutation(
        "connections-have-a-limit",
        "connections leave descriptors for files",
        "tools/parallelize/wire.py",
        "max(1, (descriptors - FILES) // AT_ONCE)",
        "max(1, descriptors // AT_ONCE)",
        ("unit/client/test_pace.py::test_connections_leave_descriptors_for_files",),
    ),
    Mutation(
        "threads-are-stopped",
        "what threads read ends when their user has failed, or was interrupted",
        TRANSFERS,
        "            self.stopping.set()\n",
        "            pass\n",
        (f"{UNIT}test_ctrl_c_does_not_wait_for_large_files_to_be_read",),
    ),
    Mutation(
        "checksum-signed",
        "S3 is told which SHA-256 a body must have, over TLS, too",
        "agent/parallelize_core/transport/objects.py",
        "        digest = sha256 or (",
        "        digest = (",
        (
            "functional/core/transport/test_uploads.py::test_a_body_with_another_checksum_than_the_caller_says_is_refused_by_s3",
        ),
    ),
    Mutation(
        "input-sent",
        "a large file is stored only if the bytes that were sent have its checksum",
        "agent/parallelize_core/transport/uploads.py",
        "    if found and found.hexdigest() != sha256:",
        "    if found and not sha256:",
        (
            "functional/core/transport/test_uploads.py::test_a_byte_that_changes_during_an_upload_never_becomes_part_of_an_object",
        ),
    ),
    Mutation(
        "input-verified",
        "an input counts only if its checksum is right",
        "agent/parallelize_core/store.py",
        "    if promised and found != promised:",
        "    if promised and not found:",
        (
            "functional/agent/test_jobs.py::test_an_input_that_is_not_what_its_checksum_says_is_no_input",
        ),
    ),
    Mutation(
        "download-order",
        "the parts of a large file are hashed in order, however they arrive",
        DOWNLOADS,
        "            await written[part.number].wait()\n",
        "            await asyncio.sleep(0)\n",
        (f"{FETCHED}test_parts_are_hashed_in_order_however_they_arrive",),
    ),
    Mutation(
        "download-size",
        "an object of another size than was promised is not taken for its first bytes",
        DOWNLOADS,
        "part.size, str(size)):",
        "part.size, total):",
        (f"{FETCHED}test_an_object_of_another_size_is_not_taken_for_its_first_bytes",),
    ),
)
