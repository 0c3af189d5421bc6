/** `npm run build:login-tools`: what a site installs on its login nodes, in dist/login-tools. */
import { mkdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { readConfig } from '../../../server/config.ts'
import { packageRoot } from '../../../server/package-root.ts'
import { berthVersion } from '../../../server/version.ts'
import { parseAddress } from '../../endpoint.ts'
import { runCommand, UsageError } from '../../exit.ts'
import { writeExecutable } from './executable.ts'
import { writePrefix } from './prefix.ts'
import type { LoginNode } from './prefix.ts'

const help = `npm run build:login-tools -- [--url URL] [--site NAME] [--prefix DIR] [--exclusive]

Makes dist/login-tools, which is copied to the login nodes: the commands as one executable that needs
no Node, links, wrappers, modules, manual pages, completions and the clients' remote.yaml. It runs on
the system and the processor that it was made on.

  --url URL      the endpoint (default: that of the server's configuration)
  --site NAME    the site, which is the name of the endpoint in remote.yaml (default: site.name there)
  --prefix DIR   where it will be installed, for the modules (default: where it is made)
  --exclusive    the clients may use no other endpoint
`

const target = join(packageRoot, 'dist/login-tools')

await runCommand('build:login-tools', async () => {
  const { values } = parseArgs({
    options: {
      url: { type: 'string' },
      site: { type: 'string' },
      prefix: { type: 'string' },
      exclusive: { type: 'boolean' },
      help: { type: 'boolean', short: 'h' },
    },
  })
  if (values.help === true) {
    process.stdout.write(help)
    return
  }
  const config = readConfig()
  const node: LoginNode = {
    url: parseAddress(values.url ?? config.publicUrl),
    site: parseSite(values.site ?? config.siteName),
    prefix: parsePrefix(values.prefix ?? target),
    exclusive: values.exclusive ?? false,
    version: berthVersion,
  }
  const unfinished = `${target}.unfinished`
  await rm(unfinished, { recursive: true, force: true })
  await mkdir(unfinished, { mode: 0o755 })
  const executable = join(unfinished, 'executable')
  await writeExecutable(executable)
  await writePrefix(join(unfinished, 'prefix'), executable, node)
  await rm(target, { recursive: true, force: true })
  await rename(join(unfinished, 'prefix'), target)
  await rm(unfinished, { recursive: true })
  process.stdout.write(`Made ${target} for ${node.url.origin}. ${nextStep(node)}\n`)
  if (node.url.protocol === 'http:') {
    process.stderr.write(
      'The clients take only https from a system-wide remote.yaml: with http, people use "berthctl remote".\n',
    )
  }
})

function nextStep({ prefix }: LoginNode): string {
  return prefix === target
    ? `Try it: module use ${target}/modulefiles; module load berth`
    : `Copy it: cp -a ${target}/. ${prefix}/`
}

/** remote.yaml takes any name, but people type it. */
function parseSite(text: string): string {
  if (/^[A-Za-z][A-Za-z0-9._-]*$/.test(text)) return text
  throw new UsageError(
    `"${text}" cannot be the name of an endpoint: give a word that begins with a letter with --site.`,
  )
}

/** It is written into modules and split at colons on PATH. */
function parsePrefix(text: string): string {
  if (/^\/[A-Za-z0-9._+/-]*$/.test(text)) return text.replace(/(?<=.)\/+$/, '')
  throw new UsageError(
    `"${text}" is no place for the commands: --prefix is an absolute path of letters, digits and . _ + -.`,
  )
}
