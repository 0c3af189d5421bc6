/** `npm run build:berthctl-docs`: manual pages and completions of berthctl, in dist/share. */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import { packageRoot } from '../../server/package-root.ts'
import { berthVersion } from '../../server/version.ts'
import { runCommand, UsageError } from '../exit.ts'
import { nouns } from '../nouns.ts'
import { bashCompletion } from './bash.ts'
import { completionCases } from './completion-cases.ts'
import { manualPages } from './man.ts'
import { zshCompletion } from './zsh.ts'

await runCommand('build:berthctl-docs', async () => {
  const [target = join(packageRoot, 'dist/share'), ...rest] = process.argv.slice(2)
  if (rest.length > 0) throw new UsageError('Give one directory, or none for dist/share.')
  const cases = completionCases(nouns)
  const files = new Map([
    ['bash-completion/completions/berthctl', bashCompletion(cases)],
    ['zsh/site-functions/_berthctl', zshCompletion(cases)],
    ...manualPages(nouns, berthVersion).map(({ file, text }): [string, string] => [
      join('man/man1', file),
      text,
    ]),
  ])
  await rm(join(target, 'man/man1'), { recursive: true, force: true })
  for (const [file, text] of files) {
    await mkdir(dirname(join(target, file)), { recursive: true, mode: 0o755 })
    await writeFile(join(target, file), text, { mode: 0o644 })
  }
  process.stdout.write(`Wrote ${files.size} files below ${target}.\n`)
})
