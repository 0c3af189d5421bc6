/** `npm run build:release`: what a host gets, as one archive that needs no network there. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

import { packageRoot } from '../../server/package-root.ts'
import { berthVersion } from '../../server/version.ts'
import { runCommand, UsageError } from '../exit.ts'
import { writeArchive } from './archive.ts'
import { stageRelease } from './contents.ts'

const help = `npm run build:release -- [--output DIR] [--version VERSION]

Makes berth-VERSION-linux-ARCH.tar.gz and its SHA-256 sum: the built code, what it reads, and the
packages that it needs in production. It is made for the processor that it is made on, because
PostgreSQL is in it. Two archives of the same tree are the same, byte by byte.

  --output DIR       where to (default: dist/release)
  --version VERSION  what it calls itself (default: ${berthVersion}), such as 1.2.0-site.3
`

await runCommand('build:release', async () => {
  const { values } = parseArgs({
    options: {
      output: { type: 'string' },
      version: { type: 'string' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help === true) {
    process.stdout.write(help)
    return
  }
  const version = parseVersion(values.version ?? berthVersion)
  const output = resolve(values.output ?? join(packageRoot, 'dist/release'))
  await mkdir(output, { recursive: true })
  const name = `berth-${version}`
  // In the output directory, so that the end is a rename and nothing half made has the name.
  const unfinished = await mkdtemp(join(output, '.unfinished-'))
  try {
    const files = await stageRelease(join(unfinished, name), version)
    const archive = join(unfinished, `${name}-${process.platform}-${process.arch}.tar.gz`)
    await writeArchive(archive, unfinished, files)
    const sum = await sha256(archive)
    const target = join(output, basename(archive))
    await rename(archive, target)
    await writeFile(`${target}.sha256`, `${sum}  ${basename(target)}\n`)
    process.stdout.write(`Made ${target} of ${files.length} files.\nSHA-256 ${sum}\n`)
  } finally {
    await rm(unfinished, { recursive: true, force: true })
  }
})

/** It becomes the name of a directory, and what `/version` says. */
function parseVersion(text: string): string {
  if (/^\d+\.\d+\.\d+(?:[-+][0-9A-Za-z][0-9A-Za-z.-]*)?$/.test(text)) return text
  throw new UsageError(`"${text}" is no version: write it as 1.2.3 or 1.2.3-site.1.`)
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(file)) hash.update(piece as Buffer)
  return hash.digest('hex')
}
