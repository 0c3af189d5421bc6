/** `berthctl`: what the administrator does on the host, with the server running or not. */
import { runCommand } from './exit.ts'

const words = process.argv.slice(2)
if (words[0] === '--names') {
  // Somebody waits with a finger on the Tab key: only what is needed is loaded, and nothing is said
  // of what does not work.
  const { printNames } = await import('./names.ts')
  await printNames(words[1] ?? '').catch(() => {})
} else {
  const { dispatch } = await import('./dispatch.ts')
  const { nouns } = await import('./nouns.ts')
  await runCommand('berthctl', async () => await dispatch(nouns, words))
}
