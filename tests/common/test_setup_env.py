"""tools/setup_env.sh on machines that lack this and that, with stand-ins for uv and the C compiler."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = f"""#!/bin/sh
echo "$* CC=$CC LDSHARED=$LDSHARED" >>uv.log
case "$1 $2" in
"python find") echo {sys.executable} ;;
"venv --quiet") mkdir -p .venv/bin; printf '#!/bin/sh\\necho "python $*" >>uv.log\\n' >.venv/bin/python
    chmod +x .venv/bin/python ;;
esac
"""


@pytest.fixture
def machine(tmp_path):
    """A checkout, and a PATH with what every Linux has but no Python, no uv and no C compiler."""
    checkout, binaries = tmp_path / "check out", tmp_path / "bin"
    shutil.copytree(ROOT / "tools", checkout / "tools")
    shutil.copy(ROOT / "requirements.lock", checkout)
    binaries.mkdir()
    for name in ("bash", "sh", "awk", "grep", "mkdir", "chmod", "dirname", "rm", "cat"):
        (binaries / name).symlink_to(shutil.which(name))

    def script(name: str, text: str) -> None:
        (binaries / name).write_text(text)
        (binaries / name).chmod(0o755)

    def run() -> subprocess.CompletedProcess:
        environment = {k: v for k, v in os.environ.items() if k not in ("CC", "LDSHARED")} | {"PATH": str(binaries)}
        return subprocess.run(
            ["tools/setup_env.sh"], cwd=checkout, env=environment, capture_output=True, text=True, check=False
        )

    return checkout, script, run


def compiled_with(checkout: Path) -> str:
    lines = (checkout / "uv.log").read_text().splitlines()
    return next(line for line in lines if "--no-binary pyradiomics" in line).split(" CC=")[1]


def test_without_any_python_one_line_says_what_to_install(machine):
    _, _, run = machine
    result = run()
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert "install python3-pip (or python3-venv, or uv)" in result.stderr


@pytest.mark.parametrize("compiler", [None, "#!/bin/sh\nexit 1\n"], ids=["no compiler", "one without headers"])
def test_zig_compiles_where_there_is_no_c_compiler_that_works(machine, compiler):
    checkout, script, run = machine
    script("uv", UV)
    if compiler:
        script("cc", compiler)
    result = run()
    assert result.returncode == 0, result.stderr
    wrappers = checkout / ".tools" / "bin"
    assert compiled_with(checkout) == f"'{wrappers}/zig-cc' LDSHARED='{wrappers}/zig-ldshared'"
    assert "-m ziglang cc -shared" in (wrappers / "zig-ldshared").read_text()


def test_a_compiler_that_works_is_taken(machine):
    checkout, script, run = machine
    script("uv", UV)
    script("cc", "#!/bin/sh\ncat >/dev/null\n")
    assert run().returncode == 0
    assert compiled_with(checkout) == "cc LDSHARED="
    assert "ziglang" not in (checkout / "uv.log").read_text()


def test_packages_are_compiled_once_all_are_there(machine):
    """Where PYTHONDONTWRITEBYTECODE is set, each start of Python would compile TensorFlow anew: 12 s instead of 5."""
    checkout, script, run = machine
    script("uv", UV)
    script("cc", "#!/bin/sh\ncat >/dev/null\n")
    assert run().returncode == 0
    lines = (checkout / "uv.log").read_text().splitlines()
    compiled = next(k for k, line in enumerate(lines) if line == "python -m compileall -qq -j 0 .venv/lib")
    assert max(k for k, line in enumerate(lines) if line.startswith("pip install")) < compiled
