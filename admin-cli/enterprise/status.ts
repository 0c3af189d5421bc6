import { CommandError } from '../exit.ts'
import { printable } from '../printable.ts'
import { tableText } from './output.ts'
import type { Services } from './services.ts'

/** The six services with their versions, and whether the token is good (enterprise.md 5). */
export async function statusText(services: Services): Promise<string> {
  const rows = await Promise.all(
    services.names.map(async (name) => {
      try {
        return [name, 'OK', await services.version(name)]
      } catch (error) {
        if (!(error instanceof CommandError)) throw error
        process.stderr.write(`ERROR:   ${printable(error.message)}\n`)
        return [name, 'ERROR', '']
      }
    }),
  )
  const table = tableText([['SERVICE', 'STATUS', 'VERSION'], ...rows]).replace(/ +$/gm, '')
  return `\nStatus for Enterprise installation \n\n${table}\n${await tokenLine(services)}\n`
}

async function tokenLine(services: Services): Promise<string> {
  if (!services.hasToken) return 'No authentication token provided'
  return (await services.isTokenLive()) ? 'Auth token is valid' : 'Auth token is not valid'
}
