"""For commands in Python that load once and then do one job after another (run.serve).

    import parallelize
    model = load_model()
    parallelize.serve(lambda job: predict(model, job["input"]))

A worker puts this file on such commands' path; it needs nothing but Python 3.8.
"""

import json
import os
import sys
import traceback
from typing import Any, Callable, Dict

Job = Dict[str, Any]


def serve(function: Callable[[Job], Any]) -> None:
    """Call `function` with each job, a dict, in the job's scratch folder, until there are no more.

    A job has `input`, `files`, `vars`, `key`, `scratch` and `attempt`. The function returns the
    names of the outputs: one, several, or None if it has printed them itself. An exception
    fails this job only; SystemExit sets its exit code.
    """
    home = os.getcwd()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        answer = {"job": job["job"], **_do(function, job)}
        sys.stderr.flush()
        os.chdir(home)
        # On a line of its own, whatever was printed before.
        print(f"\n{json.dumps(answer)}", flush=True)


def _do(function: Callable[[Job], Any], job: Job) -> Dict[str, Any]:
    try:
        os.chdir(job["scratch"])
        made = function(job)
        for name in [made] if isinstance(made, (str, os.PathLike)) else made or ():
            print(os.fspath(name))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else error.code is not None
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        return {"failed": code} if code else {"done": True}
    except Exception:
        traceback.print_exc()
        return {"failed": 1}
    return {"done": True}
