/**
 * Where the commands of the login nodes begin. Called through a link to the single executable, the
 * name is that of the link: Node puts the executable's own path into argv[0] and keeps what was
 * typed in `argv0`. Everywhere else, as from the launcher in bin/, the first word is the name.
 */
import { basename } from 'node:path'

import { loginTool, loginTools } from '../login-tools.ts'

const link = basename(process.argv0)
const words = process.argv.slice(2)
const [name = '', ...args] = loginTools.includes(link) ? [link, ...words] : words
// No await at the top: the executable of Node 20 takes CommonJS only, which has none.
void loginTool(name, args)
