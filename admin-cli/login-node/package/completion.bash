# Completion of Berth's commands for bash. Options and words are those of their --help.

_berth_login_tools() {
  local command=${1##*/} word=$2 previous=$3 words='' nouns='col rep img tok prj usr bld age'
  local build_options='--detached --arch --library --force --build-arg --build-arg-file --json --url --help'
  COMPREPLY=()

  case $previous in
    --user | --url | --from | --to | --label | --arch | --library | --build-arg) return ;;
    --scope) words='all pull build' ;;
    -o | --output) words='short long csv json yaml' ;;
  esac

  if [ -z "$words" ]; then
    case $command in
      get_singularity_token) words='--user --url --label --scope --json --help' ;;
      list_singularity_tokens | show_container_library_usage)
        words='--all --user --url --json --help'
        ;;
      berth-singularity)
        case ${COMP_WORDS[*]:1:COMP_CWORD-1} in
          '') words='enterprise build' ;;
          build) words='--remote --help' ;;
          'build --remote') words="status output cancel list $build_options" ;;
          build*) words=$build_options ;;
          enterprise) words='get describe delete status version help --help' ;;
          'enterprise get' | 'enterprise describe') words=$nouns ;;
          'enterprise delete') words='token' ;;
          'enterprise delete '*) words='--all --user' ;;
          'enterprise get tok'*)
            words='--output --json --user --show-disabled-tokens --show-auto-tokens'
            ;;
          'enterprise get bld'*) words='--output --json --user --all --from --to' ;;
          'enterprise get '*) words='--output --json' ;;
        esac
        ;;
    esac
  fi

  local candidate
  while IFS= read -r candidate; do COMPREPLY+=("$candidate"); done < <(compgen -W "$words" -- "$word")
}

complete -o default -F _berth_login_tools \
  get_singularity_token list_singularity_tokens show_container_library_usage berth-singularity
