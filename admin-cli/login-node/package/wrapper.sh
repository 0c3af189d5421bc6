#!/bin/sh
# Berth's wrapper of singularity and apptainer
#
# It answers `enterprise`, and `build --remote` where the real program is Apptainer, which has it not.
# For everything else it becomes the real program: the next one of its name on PATH. The line above is how wrappers know each other, whatever their version; it stays as it is.

name=${0##*/}

# The client's own options stand before the command; two of them have a value.
command=
before=0
expects_value=no
for word in "$@"; do
  case $expects_value:$word in
    yes:*) expects_value=no ;;
    no:-c | no:--config | no:--build-config) expects_value=yes ;;
    no:-*) ;;
    *)
      command=$word
      break
      ;;
  esac
  before=$((before + 1))
done

# Becomes Berth's own program, without the options that stood before the command.
become_berth() {
  self=$(readlink -f -- "$0")
  shift "$before"
  export BERTH_CLIENT="$name"
  exec "${self%/*/*}/bin/berth-singularity" "$@"
}

remote_build=no
case $command in
  enterprise) become_berth "$@" ;;
  build)
    for word in "$@"; do
      case $word in
        --remote | --remote=true | -r) remote_build=yes ;;
        --) break ;;
      esac
    done
    ;;
esac

# Somebody else's script of that name may look for the next one on PATH as well, and find this one
# again. `exec` keeps the number of the process, so that a list with it is of this very call: the
# scripts that it has been already.
case ${BERTH_PASSED-} in
  "$$:"*) passed=${BERTH_PASSED#"$$"}: ;;
  *) passed=: ;;
esac
unset BERTH_PASSED

rest=${PATH-}:
while [ -n "$rest" ]; do
  directory=${rest%%:*}
  rest=${rest#*:}
  program=${directory:-.}/$name
  if [ ! -f "$program" ] || [ ! -x "$program" ]; then continue; fi
  case $passed in
    *":$program:"*) continue ;;
  esac
  first=
  second=
  if [ -r "$program" ]; then
    {
      IFS= read -r first
      case $first in
        '#!'*) IFS= read -r second ;;
      esac
    } <"$program"
  fi
  case $second in
    "# Berth's wrapper of singularity and apptainer") continue ;;
  esac
  if [ "$remote_build" = yes ]; then
    # Apptainer's packages have a link of the other name to it.
    real=$(readlink -f -- "$program")
    case $name:${real##*/} in
      apptainer:* | *:apptainer) become_berth "$@" ;;
    esac
  fi
  case $first in
    '#!'*) export BERTH_PASSED="$$$passed$program" ;;
  esac
  # shellcheck disable=SC2093 # the loop goes on over what is not for this name
  exec "$program" "$@"
done

if [ "$remote_build" = yes ]; then become_berth "$@"; fi

echo "$name: no program of this name on PATH but Berth's wrapper: load the module that has it." >&2
exit 127
