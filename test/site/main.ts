/**
 * `npm run test:site`: a site in a box. Boots the hosts of a site with systemd-nspawn, in a network
 * that only they are in, lets the roles install them, and does on them what people do.
 *
 * The appliance is Debian 13, or Debian 12 with BERTH_SITE_APPLIANCE=bookworm.
 *
 * This process makes what the hosts are made of, and is outside of the box, which it puts away:
 * with the box's first process everything in it ends, network and mounts too.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'

import { packageRoot } from '../../server/package-root.ts'
import { berthVersion } from '../../server/version.ts'
import { must } from './commands.ts'
import { boxed, removeGroups, whyNot } from './machine.ts'
import { makeNodeArchive } from './node-archive.ts'
import { hostNames, suites } from './site.ts'
import type { Materials, Suite } from './site.ts'

/** Making images that are not there yet is not in it. */
const boxSeconds = Number(process.env['BERTH_SITE_SECONDS'] ?? 1200)

const reason = whyNot()
if (reason === undefined) process.exitCode = await main()
else {
  const line = '*'.repeat(78)
  process.stderr.write(
    `${line}\nThe site in a box was NOT tested: ${reason}.\nIt needs root, systemd-nspawn and a kernel with overlayfs: see README.md.\n${line}\n`,
  )
}

async function main(): Promise<number> {
  const suite = chosenSuite()
  const images = await makeImages('trixie')
  const ansible = (await must(join(packageRoot, '.ci/ansible'), [], { seconds: 600 })).trim()
  const directory = mkdtempSync(join(tmpdir(), 'berth-site-'))
  const box = basename(directory).replace('berth-site-', '')
  try {
    const materials: Materials = {
      directory,
      box,
      images,
      appliance: {
        suite,
        images: suite === 'trixie' ? images : await makeImages(suite),
        ...(suite === 'trixie' ? {} : { node: await makeNodeArchive(directory) }),
      },
      ansible,
      loginTools: await makeLoginTools(directory),
      releases: [
        await makeRelease(directory),
        await makeRelease(directory, `${berthVersion}-next`),
      ],
    }
    return await play(materials)
  } finally {
    removeGroups(box)
    rmSync(directory, { recursive: true, force: true })
  }
}

function chosenSuite(): Suite {
  const chosen = process.env['BERTH_SITE_APPLIANCE'] ?? 'trixie'
  const suite = suites.find((name) => name === chosen)
  if (suite === undefined)
    throw new Error(`BERTH_SITE_APPLIANCE is ${suites.join(' or ')}, not ${chosen}.`)
  return suite
}

async function makeImages(suite: Suite): Promise<string> {
  const program = join(packageRoot, '.ci/site-images')
  return (await must(program, [suite], { seconds: 900 })).trim()
}

/** Runs the box to its end, or until it has had its time. */
async function play(materials: Materials): Promise<number> {
  const program = join(packageRoot, 'dist/test/site/site.test.js')
  const node = [process.execPath, '--enable-source-maps', program]
  const child = spawn('unshare', [...boxed, ...node], {
    stdio: 'inherit',
    cwd: packageRoot,
    env: { ...process.env, BERTH_SITE: JSON.stringify(materials) },
    timeout: boxSeconds * 1000,
    killSignal: 'SIGKILL',
  })
  // Ctrl-C reaches all of the terminal's processes; whoever ends this one alone ends the box too.
  process.on('SIGINT', () => {})
  process.on('SIGTERM', () => child.kill('SIGKILL'))
  const [code, signal] = await new Promise<[number | null, NodeJS.Signals | null]>(
    (resolve, reject) => {
      child.on('error', reject)
      child.on('close', (...how) => resolve(how))
    },
  )
  if (signal !== null)
    process.stderr.write(`The box was ended by ${signal} (it has ${boxSeconds} s).\n`)
  return code ?? 1
}

async function makeRelease(directory: string, version = berthVersion): Promise<string> {
  const output = join(directory, 'releases', version)
  mkdirSync(output, { recursive: true })
  const program = join(packageRoot, 'dist/admin-cli/release/build.js')
  await must(process.execPath, [program, '--output', output, '--version', version], {
    seconds: 300,
  })
  const archive = readdirSync(output).find((name) => name.endsWith('.tar.gz'))
  if (archive === undefined) throw new Error(`There is no release in ${output}.`)
  return join(output, archive)
}

/** For the address and the place that the hosts of the box have. */
async function makeLoginTools(directory: string): Promise<string> {
  const program = join(packageRoot, 'dist/admin-cli/login-node/package/build.js')
  const url = `https://${hostNames.appliance}`
  const args = ['--url', url, '--site', 'Example', '--prefix', '/opt/berth-tools']
  await must(process.execPath, [program, ...args], { seconds: 300 })
  const made = join(packageRoot, 'dist/login-tools')
  const place = join(directory, 'login-tools')
  await must('cp', ['-a', made, place])
  return place
}
