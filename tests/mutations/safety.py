"""The guards of docs/safety.md: of what is never overwritten, mixed up or opened."""

from __future__ import annotations

from tests.mutations.mutation import AGENT, CORE, Mutation

TOOLS = "tools/parallelize/"
OWNERS = "functional/client/test_ownership.py::"
TRIPS = "functional/client/test_meanwhile.py::"
DOWNLOAD = "unit/client/test_download.py::"
WRITTEN = "unit/client/test_written.py::"
RULES = "unit/client/test_input_rules.py::"
NOBODY = "functional/local/test_nobody_else.py::"
PLACES = "functional/client/test_other_places.py::"
S3 = "functional/client/test_which_inputs.py::"
LAYOUT = "unit/core/test_layout.py::"
RETRY = "functional/client/test_retry.py::"
MEANWHILE = "unit/client/test_download_meanwhile.py::"
FETCH = "functional/client/test_download.py::"
SHELL = "unit/client/test_shell_words.py::"
ZIP = "unit/client/test_environment_zip.py::"
RECORDS = "unit/watching/test_hostile_records.py::"
LIST_AMONG_INPUTS = (
    f"{RULES}test_a_list_that_a_command_wrote_among_the_inputs_is_none_"
    "until_other_data_takes_its_place"
)

RUNS = (
    Mutation(
        "run-of-another-project",
        "a run is changed by no project but its own",
        f"{TOOLS}runs/record/ownership.py",
        "    if there is None or context.project.owns(context.run, there.id):\n        return\n",
        "    return\n",
        (f"{OWNERS}test_no_command_changes_the_run_of_another_project",),
    ),
    Mutation(
        "run-taken-meanwhile",
        "a run is looked at again after the questions, before anything of it is written",
        f"{TOOLS}operations/prep.py",
        "adopt(context, there if is_new and there.origin is None else None)",
        "adopt(context, there)",
        (f"{TRIPS}test_a_run_that_another_project_takes_meanwhile_is_left_to_it",),
    ),
    Mutation(
        "record-taken-meanwhile",
        "the record of a run that another project has taken is not replaced",
        f"{TOOLS}runs/record/run_record.py",
        "    check_origin(context, found)\n    wanted",
        "    wanted",
        (f"{OWNERS}test_the_record_of_another_projects_run_is_replaced_by_none_whenever_it_came",),
    ),
    Mutation(
        "record-made-meanwhile",
        "a first `prep` does not replace another record that a second has written meanwhile",
        f"{TOOLS}runs/record/run_record.py",
        "    elif is_renewal(context, draft, there):\n",
        "    elif False:\n",
        (f"{TRIPS}test_of_two_first_preps_with_other_settings_the_second_replaces_nothing",),
    ),
    Mutation(
        "record-gone-meanwhile",
        "no record is written for a run whose jobs `clean` has deleted since they were read",
        f"{TOOLS}runs/record/ownership.py",
        "    if there is None or there.created_at != before.created_at:\n",
        "    if there and there.created_at != before.created_at:\n",
        (f"{TRIPS}test_a_run_that_is_cleaned_during_a_prep_is_not_called_complete",),
    ),
    Mutation(
        "copy-of-a-project",
        "a copy of a folder is another project",
        f"{TOOLS}project.py",
        "            if there and there.id == content.id and not original",
        "            if False and not original",
        (
            "unit/client/test_project.py::test_a_copy_gets_an_id_of_its_own_and_joins_nothing_by_itself",
        ),
    ),
    Mutation(
        "copy-of-a-moved-project",
        "so is a copy of one that was moved",
        f"{TOOLS}runs/record/ownership.py",
        "    context.project.settle()\n",
        "",
        (f"{OWNERS}test_a_copy_of_a_folder_that_was_moved_is_another_project",),
    ),
    Mutation(
        "run-in-another-place",
        "a run of that name in another place keeps its queues",
        f"{TOOLS}runs/record/ownership.py",
        "    if elsewhere:\n        raise others_queue",
        "    if False:\n        raise others_queue",
        (f"{PLACES}test_a_run_of_the_same_name_elsewhere_is_refused_and_the_queue_stays_as_it_is",),
    ),
)

OUTPUTS = (
    Mutation(
        "clash-of-outputs",
        "an output of another input, or from outside, is not overwritten",
        f"{AGENT}job/commit.py",
        '        if self.run.naming.on_clash == "fail":\n',
        "        if False:\n",
        (
            "functional/agent/test_commit.py::test_an_object_from_outside_the_run_is_not_overwritten",
        ),
    ),
    Mutation(
        "output-of-another-run",
        "an output belongs to an input of one run",
        f"{AGENT}job/commit.py",
        "        return same_run and there.metadata.get(OWNER) == owner_mark(self.key)\n",
        "        return there.metadata.get(OWNER) == owner_mark(self.key)\n",
        ("functional/agent/test_shared_outputs.py::test_the_second_fails_and_names_the_first",),
    ),
    Mutation(
        "inputs-stay-in-s3",
        "no output takes the place of an input of its run",
        f"{TOOLS}runs/inputs/apart.py",
        '    if run.naming.on_clash != "replace":\n',
        "    if True:\n",
        (f"{S3}test_no_output_can_take_the_place_of_an_input_of_s3",),
    ),
    Mutation(
        "suffix-of-a-long-name",
        "long names that differ only at their end stay two under a suffix",
        f"{CORE}layout.py",
        '    mark = f"-{key_hash(whole)}"\n',
        '    mark = "-x"\n',
        (f"{LAYOUT}test_long_names_that_differ_only_at_their_end_stay_apart_after_a_suffix",),
    ),
    Mutation(
        "result-that-was-read",
        "retry takes only the version of a result away that it read",
        f"{TOOLS}operations/retry.py",
        "        if decode_result(layout, info.key, body) != job.result:\n"
        "            return False\n"
        "        return store.delete_version(info.key, info.etag)\n",
        "        store.delete([info.key])\n        return True\n",
        (f"{RETRY}test_a_result_that_another_client_s_retry_has_brought_is_not_deleted",),
    ),
)

FILES = (
    Mutation(
        "file-of-the-users",
        "a download writes over no file that none has written",
        f"{TOOLS}runs/files/download_record.py",
        '            return f"a file of this name exists, which no download wrote; {_MOVE}"\n',
        "            return None\n",
        (f"{DOWNLOAD}test_a_file_that_no_download_has_written_stays",),
    ),
    Mutation(
        "edited-output",
        "an output that was edited stays",
        f"{TOOLS}runs/files/download_record.py",
        "        if sha256_of(target) not in written:\n",
        "        if False:\n",
        (f"{DOWNLOAD}test_a_downloaded_file_that_was_edited_stays",),
    ),
    Mutation(
        "link-for-an-output",
        "a link in the place of an output stays",
        f"{TOOLS}runs/files/download_record.py",
        "        if not stat.S_ISREG(target.lstat().st_mode):\n",
        "        if False:\n",
        (f"{DOWNLOAD}test_a_link_in_place_of_an_output_stays_and_is_not_followed",),
    ),
    Mutation(
        "file-that-appears",
        "a file that appears while its output is on its way stays",
        f"{TOOLS}runs/files/fetching.py",
        "        if why := self.record.refusal(output.key):\n            if is_there",
        '        if why := "":\n            if is_there',
        (f"{MEANWHILE}test_a_file_that_appears_while_its_output_is_on_its_way_stays",),
    ),
    Mutation(
        "folder-called-like-ours",
        "a record has no folder swept but those of downloads",
        f"{TOOLS}runs/files/download_record.py",
        '            if name.startswith(PARTIAL) and "/" not in name and _is_old_folder(left):\n',
        "            if _is_old_folder(left):\n",
        ("unit/client/test_download_record.py::test_a_record_cannot_have_other_folders_swept",),
    ),
    Mutation(
        "output-out-of-the-folder",
        "an output's name does not lead out of the folder",
        f"{TOOLS}runs/files/fetching.py",
        "        if why := keys.refusal(name):\n",
        "        if why := None:\n",
        (f"{DOWNLOAD}test_keys_that_would_leave_the_folder_are_refused",),
    ),
    Mutation(
        "names-that-are-one-here",
        "two outputs that the disk takes for one name are not mixed up",
        f"{TOOLS}runs/files/fetching.py",
        "        if twin != name:\n",
        "        if False:\n",
        (f"{DOWNLOAD}test_names_that_the_disk_cannot_tell_apart_are_named",),
    ),
    Mutation(
        "outputs-around-the-inputs",
        "outputs do not go to a folder around the inputs",
        f"{TOOLS}runs/inputs/apart.py",
        "        if inputs.is_relative_to(out):\n",
        "        if False:\n",
        (f"{FETCH}test_a_folder_within_or_around_the_inputs_is_refused",),
    ),
    Mutation(
        "output-of-the-run-before",
        "another run's output is not replaced in a folder without a word",
        f"{TOOLS}runs/files/fetching.py",
        "        if other := self.record.of_another_run(output.key):\n",
        '        if other := "":\n',
        (f"{FETCH}test_outputs_of_another_run_in_the_folder_are_not_replaced_without_a_word",),
    ),
    Mutation(
        "report-over-a-file",
        "a report or a list writes over no file that none has written",
        f"{TOOLS}runs/files/written.py",
        '            raise self._refusal("no earlier command wrote it")\n',
        "            return\n",
        (f"{WRITTEN}test_a_file_that_no_command_wrote_stays",),
    ),
    Mutation(
        "report-over-an-edited-one",
        "a report or a list that was edited stays",
        f"{TOOLS}runs/files/written.py",
        "        if sha256_of(target) not in known.written:\n",
        "        if False:\n",
        (f"{WRITTEN}test_a_written_file_that_was_edited_stays",),
    ),
)

INPUTS = (
    Mutation(
        "left-by-systems",
        "what systems and editors leave is not an input",
        f"{TOOLS}runs/inputs/input_rules.py",
        "        return said or (not named and bool(_left_out().search(key)))\n",
        "        return said\n",
        (f"{RULES}test_what_systems_and_editors_leave_is_no_input_and_is_told",),
    ),
    Mutation(
        "written-among-the-inputs",
        "a list that a command wrote among the inputs is not one of them",
        f"{TOOLS}runs/files/own_files.py",
        "        if self.is_one(path) or self._is_written(folder, name):\n",
        "        if self.is_one(path):\n",
        (LIST_AMONG_INPUTS,),
    ),
    Mutation(
        "words-for-a-shell",
        "a command that means something only to a shell is refused",
        f"{TOOLS}runs/environment/placeholders.py",
        "    if word is None:\n        return\n",
        "    return\n",
        (f"{SHELL}test_a_word_for_a_shell_is_named",),
    ),
    Mutation(
        "error-within-a-pipe",
        "an error within a pipe is an error",
        f"{TOOLS}runs/environment/placeholders.py",
        'SHELL = ("bash", "-e", "-o", "pipefail", "-c")\n',
        'SHELL = ("bash", "-e", "-c")\n',
        (f"{SHELL}test_a_shell_ends_at_the_first_error_also_within_a_pipe",),
    ),
    Mutation(
        "zip-of-windows",
        "a zip with the folders of Windows is refused",
        f"{TOOLS}runs/environment/environment_zip.py",
        "        if odd and any(",
        "        if False and any(",
        (f"{ZIP}test_a_zip_with_the_folders_of_windows_is_refused_with_what_to_do",),
    ),
)

OTHERS = (
    Mutation(
        "web-pages",
        "no web page is answered by a server on loopback",
        f"{TOOLS}local/loopback.py",
        "    if origin is not None:\n",
        "    if False:\n",
        (f"{NOBODY}test_a_web_page_is_refused",),
    ),
    Mutation(
        "names-that-lead-here",
        "no name that was made to lead here is answered",
        f"{TOOLS}local/loopback.py",
        "    if not is_ours(hosts, name):\n",
        "    if False:\n",
        (f"{NOBODY}test_a_name_that_was_made_to_lead_here_is_refused",),
    ),
    Mutation(
        "signed-requests",
        "the emulated services take no key but their owner's",
        f"{TOOLS}local/front.py",
        '    return found["service"] if hmac.compare_digest(made, found["signature"]) else None\n',
        '    return found["service"] if made else None\n',
        (f"{NOBODY}test_the_emulated_services_take_no_other_key",),
    ),
    Mutation(
        "texts-that-steer",
        "no text of a record steers a terminal",
        f"{TOOLS}console.py",
        '    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}\n',
        "    return False\n",
        ("functional/client/test_hostile_bucket.py::test_texts_that_steer_a_terminal_reach_none",),
    ),
    Mutation(
        "result-of-another-file",
        "a result cannot pass for that of another file",
        f"{TOOLS}runs/results/results.py",
        "    if layout.result(result.key) != place:\n",
        "    if False:\n",
        (f"{RECORDS}test_a_result_cannot_pass_for_that_of_another_file",),
    ),
)

MUTATIONS = (*RUNS, *OUTPUTS, *FILES, *INPUTS, *OTHERS)
