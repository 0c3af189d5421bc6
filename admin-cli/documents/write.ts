/** Manual pages and completions of berthctl as files, laid out as below /usr/share. */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import { nouns } from '../nouns.ts'
import { bashCompletion } from './bash.ts'
import { completionCases } from './completion-cases.ts'
import { manualPages } from './man.ts'
import { zshCompletion } from './zsh.ts'

/** Returns how many there are. */
export async function writeDocuments(target: string, version: string): Promise<number> {
  const cases = completionCases(nouns)
  const files = new Map([
    ['bash-completion/completions/berthctl', bashCompletion(cases)],
    ['zsh/site-functions/_berthctl', zshCompletion(cases)],
    ...manualPages(nouns, version).map(({ file, text }): [string, string] => [
      join('man/man1', file),
      text,
    ]),
  ])
  // A noun that is gone has no page any more.
  await rm(join(target, 'man/man1'), { recursive: true, force: true })
  for (const [file, text] of files) {
    await mkdir(dirname(join(target, file)), { recursive: true, mode: 0o755 })
    await writeFile(join(target, file), text, { mode: 0o644 })
  }
  return files.size
}
