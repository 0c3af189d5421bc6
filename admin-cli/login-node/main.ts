/** `node login-node/main.js NAME ARGS…`, as the launchers in bin/ start it. */
import { loginTool } from '../login-tools.ts'

const [name = '', ...args] = process.argv.slice(2)
await loginTool(name, args)
