-- For Lmod. The module of singularity or apptainer itself is loaded before this one, whose wrapper
-- stands before it on PATH.

help([[The Singularity endpoint of @site@: @url@

  get_singularity_token          a new access token, for your password
  list_singularity_tokens        your access tokens
  show_container_library_usage   how much of your quota is used
  singularity enterprise         what you keep in the container library

Each of them has a manual page, and --help.]])

whatis("Name: berth")
whatis("Version: @version@")
whatis("Description: The Singularity endpoint of @site@: access tokens, container library")

conflict("berth")

local prefix = "@prefix@"

setenv("BERTH_URL", "@url@")
setenv("BERTH_REMOTES", pathJoin(prefix, "etc/remote.yaml"))
prepend_path("PATH", pathJoin(prefix, "bin"))
prepend_path("PATH", pathJoin(prefix, "wrapper"))

-- The empty place at the end stands for the pages of the system.
if os.getenv("MANPATH") == nil then
   append_path("MANPATH", "")
end
prepend_path("MANPATH", pathJoin(prefix, "share/man"))

-- bash-completion looks here. Unset, the variable stands for these two.
if os.getenv("XDG_DATA_DIRS") == nil then
   append_path("XDG_DATA_DIRS", "/usr/local/share")
   append_path("XDG_DATA_DIRS", "/usr/share")
end
prepend_path("XDG_DATA_DIRS", pathJoin(prefix, "share"))
