import { spawnSync } from 'node:child_process'

import { findApptainerRoot } from '../clients/apptainer-root.ts'

/** False, or why tests that need a sandbox are skipped; with CI=true they fail instead. */
export function withoutBubblewrap(): false | string {
  if (process.env['CI'] === 'true') return false
  if (spawnSync('bwrap', ['--version']).status !== 0) return 'bubblewrap is not installed'
  return findApptainerRoot() === undefined
    ? 'there is no Apptainer root; as root, .ci/apptainer-root makes it'
    : false
}
