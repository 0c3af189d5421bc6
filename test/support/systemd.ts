/** What of systemd is installed here; nothing of it has to run. */
import { spawnSync } from 'node:child_process'

/** False, or why tests are skipped. With CI=true a missing program fails them: .ci/run installs it. */
export function without(program: string): false | string {
  const found = spawnSync(program, ['--version']).status === 0
  return found || process.env['CI'] === 'true' ? false : `${program} is not installed`
}
