#!/usr/bin/env bash
# Makes .venv hold exactly what requirements/cpu.lock says, and this project, editable.
# Run again it does nothing (a stamp says what was installed) or mends what is broken.
#   PYTHON       the Python 3.11 to use            (python3.11)
#   TORCH_INDEX  where pip finds the CPU torch, if it does not find it by itself
set -euo pipefail
export PYTHONUNBUFFERED=1
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
stamp=$venv/setup.stamp     # what is installed; written last
unfinished=$venv/setup.busy # there while pip writes; left behind by a kill
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

# The folder is part of it: a venv that was moved or copied does not work.
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
give_up() { # pip itself said no: what is installed is whole, so the next run may go on from here
    rm -f "$unfinished"
    grep -E '^ *(ERROR|error)' "$log" | tail -n 5 >&2 || tail -n 5 "$log" >&2
    fail "$1" "the whole story is in $log" "then run 'make setup' again: it goes on where it stopped"
}
progress() { # pip's own lines -> one line a package
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
    give_up "$torch was found neither by pip as it is set up nor at $torch_index (TORCH_INDEX=URL names another)"

pip --no-deps -r "$lock" 2>&1 | tee -a "$log" | progress "$(grep -c '==' "$lock")" ||
    give_up "the packages of $lock cannot be installed"

# Builds for another torch break `import transformers`; nothing here uses them.
for stray in torchvision torchaudio torchcodec; do
    if compgen -G "$venv/lib/python3.11/site-packages/$stray-*.dist-info" >/dev/null; then
        say "  removing $stray, which does not go with the CPU torch"
        "$venv/bin/python" -m pip uninstall -y -q "$stray" >>"$log" 2>&1 || give_up "$stray cannot be removed"
    fi
done

say "  this project (editable)"
pip --no-deps --no-build-isolation -e . >>"$log" 2>&1 || give_up "this project cannot be installed"

printf '%s' "$wanted" >"$stamp"
rm -f "$unfinished"
say "ready: $venv/bin/recsys --help"
