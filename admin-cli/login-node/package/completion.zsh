#compdef get_singularity_token list_singularity_tokens show_container_library_usage berth-singularity
# Completion of Berth's commands for zsh. Options and words are those of their --help.

local -a common=(
  '--user[account]:account:_users'
  '--url[endpoint]:address:'
  '--json[as JSON]'
  '(- *)--help[what it does]'
)
local -a verbs=(
  'get:list what there is'
  'describe:all about one object'
  'delete:end access tokens'
  'status:whether the services and your token are well'
  'version:version of this command'
  'help:what it does'
)
local -a options=(
  '--output:form of the list'
  '--json:as JSON'
  '--user:whose tokens or builds'
  '--all:all of the tokens, builds of everybody'
  '--from:builds from this time on'
  '--to:builds up to this time'
  '--show-disabled-tokens:also those that are over'
  '--show-auto-tokens:also those that programs made'
)
local -a nouns=(
  'col:collections of a user or group'
  'rep:repositories of a collection'
  'img:images of a repository'
  'tok:access tokens'
  'prj:users and groups with images'
  'usr:accounts'
  'bld:builds of the last day'
  'age:builders'
)

local -a builds=(
  'status:where a build stands'
  'output:its output, to its end'
  'cancel:end a build'
  'list:your builds'
)
local -a build_options=(
  '--detached:does not wait'
  '--arch:for another processor'
  '--library:keeps the image in the library as well'
  '--force:replaces the image'
  '--build-arg:NAME=VALUE'
  '--build-arg-file:a file of them'
  '--json:as JSON'
  '--url:another endpoint'
  '--help:what it does'
)

case $service in
  get_singularity_token)
    _arguments $common '--label[what the token is for]:text:' \
      '--scope[what it is good for]:scope:(all pull build)'
    ;;
  list_singularity_tokens)
    _arguments $common '--all[also those that are over; with label, scope and last use]'
    ;;
  show_container_library_usage)
    _arguments $common '--all[also the spaces of your groups]'
    ;;
  berth-singularity)
    case $CURRENT in
      2) compadd enterprise build ;;
      3)
        if [[ $words[2] == build ]]; then compadd -- --remote --help; else _describe command verbs; fi
        ;;
      4)
        case $words[3] in
          --remote)
            _describe verb builds
            _describe -o option build_options
            _files
            ;;
          get|describe) _describe type nouns ;;
          delete) compadd token ;;
        esac
        ;;
      *)
        if [[ $words[2] == build ]]; then
          _describe -o option build_options
          _files
          return
        fi
        # IDs stand before options and between them, and nobody knows them here.
        case $words[CURRENT-1] in
          -o|--output) compadd short long csv json yaml ;;
          --user) _users ;;
          *) _describe -o option options ;;
        esac
        ;;
    esac
    ;;
esac
