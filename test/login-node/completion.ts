/** What the Tab key completes, in shells that are used. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'

import { withoutTerminal } from '../support/terminal.ts'
import { openShell, shellNames } from './shell.ts'
import type { ShellName } from './shell.ts'

const bashCompletion = '/usr/share/bash-completion/bash_completion'
const mustRun = process.env['CI'] === 'true'

const skips: Readonly<Record<ShellName, string | false>> = {
  bash: existsSync(bashCompletion) || mustRun ? false : 'bash-completion is not installed',
  zsh: existsSync('/usr/bin/zsh') || mustRun ? false : 'zsh is not installed',
}

/** Typed with Tab, and the line as it then is. */
const lines: readonly (readonly [keys: string, line: RegExp])[] = [
  ['get_singularity_token --sc\tpu\t', /get_singularity_token --scope +pull $/],
  ['get_singularity_token --la\t', /get_singularity_token --label $/],
  ['list_singularity_tokens --al\t', /list_singularity_tokens --all $/],
  ['show_container_library_usage --js\t', /show_container_library_usage --json $/],
  ['berth-singularity ent\tdel\tt\t', /berth-singularity enterprise +delete +token $/],
  ['berth-singularity bu\t--rem\tsta\t', /berth-singularity build +--remote +status $/],
  ['berth-singularity build --remote a.sif --det\t', /a\.sif --detached $/],
  ['berth-singularity enterprise get c\t', /berth-singularity enterprise get col $/],
  ['berth-singularity enterprise get b\t', /berth-singularity enterprise get bld $/],
  ['berth-singularity enterprise get tok alice --show-d\t', /alice --show-disabled-tokens $/],
]

/** `prefix` holds the commands, and the files for completion as the module and README.md name them. */
export function testCompletion(prefix: string): void {
  const bin = `PATH=${join(prefix, 'bin')}:$PATH`
  const starts: Readonly<Record<ShellName, string>> = {
    bash: `${bin} XDG_DATA_DIRS=${prefix}/share:/usr/share; . ${bashCompletion}`,
    zsh: `${bin}; fpath=(${prefix}/share/zsh/site-functions $fpath); autoload -Uz compinit; compinit -u -D`,
  }
  for (const name of shellNames) {
    test(`${name} completes`, { skip: skips[name] || withoutTerminal }, async (t) => {
      const shell = await openShell(t, name, { HOME: '/nonexistent', PATH: '/usr/bin:/bin' }, '/')
      await shell.done(starts[name])
      for (const [keys, line] of lines) {
        const from = shell.terminal.text().length
        shell.terminal.type(keys)
        await shell.seeLine(line, from)
        // Ctrl-C: the line is not run.
        shell.terminal.type('\u0003')
        await shell.prompt(from + keys.length)
      }
    })
  }
}
