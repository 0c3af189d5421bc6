#%Module1.0
# For Environment Modules. The module of singularity or apptainer itself is loaded before this one,
# whose wrapper stands before it on PATH.

proc ModulesHelp { } {
    puts stderr {The Singularity endpoint of @site@: @url@

  get_singularity_token          a new access token, for your password
  list_singularity_tokens        your access tokens
  show_container_library_usage   how much of your quota is used
  singularity enterprise         what you keep in the container library

Each of them has a manual page, and --help.}
}

module-whatis {Description: The Singularity endpoint of @site@: access tokens, container library}
conflict berth

set prefix {@prefix@}

setenv BERTH_URL {@url@}
setenv BERTH_REMOTES $prefix/etc/remote.yaml
prepend-path PATH $prefix/bin
prepend-path PATH $prefix/wrapper

# The empty place at the end stands for the pages of the system.
if {![info exists env(MANPATH)]} {
    append-path MANPATH {}
}
prepend-path MANPATH $prefix/share/man

# bash-completion looks here. Unset, the variable stands for these two.
if {![info exists env(XDG_DATA_DIRS)]} {
    append-path XDG_DATA_DIRS /usr/local/share
    append-path XDG_DATA_DIRS /usr/share
}
prepend-path XDG_DATA_DIRS $prefix/share
