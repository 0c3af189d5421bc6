/** What builds on this host need; builder hosts test themselves, and say so in their alarms. */
import { accessSync, constants, readFileSync } from 'node:fs'
import { join } from 'node:path'

import type { BuilderHost } from '../../server/builder-settings.ts'
import { testWalls } from '../../server/builder/self-test.ts'
import { packageRoot } from '../../server/package-root.ts'
import { readRunnerSettings } from '../../server/runner/settings.ts'
import { fault, skipped } from './check.ts'
import type { Check, Outcome } from './check.ts'
import type { Site } from './site.ts'

export const builderChecks: readonly Check<Site>[] = [
  {
    name: 'builder-bubblewrap',
    fix: 'apt install bubblewrap: it makes the walls of a build.',
    run: (site) => here(site, () => program(site, 'bwrap')),
  },
  {
    name: 'builder-newuidmap',
    fix: 'apt install uidmap: builds need more than one account inside.',
    run: (site) =>
      here(site, () => {
        const { uid } = site.host.account
        return uid === 0 ? skipped('root needs none') : program(site, 'newuidmap')
      }),
  },
  {
    name: 'builder-subuid',
    fix: 'usermod --add-subuids 2000000-2065535 --add-subgids 2000000-2065535 for the account that builds.',
    run: (site) =>
      here(site, () => {
        const { subuidFile, account } = site.host
        if (account.uid === 0) return skipped('root needs none')
        const lines = readFileSync(subuidFile, 'utf8').split('\n')
        const ranges = lines.map((line) => line.split(':'))
        const count = ranges
          .filter(([who]) => who === account.name || who === String(account.uid))
          .reduce((sum, [, , size]) => Math.max(sum, Number(size)), 0)
        if (count >= 65_536) return undefined
        return fault(`${subuidFile} has no range of 65536 for ${account.name}`)
      }),
  },
  {
    name: 'builder-apptainer',
    fix: 'Install apptainer, or name the root and the program that builds use in the runner configuration.',
    run: (site) =>
      here(site, (builder) => {
        const { root, apptainer } = readRunnerSettings(builder.runnerConfig)
        const file = join(root, apptainer)
        return isProgram(file) ? undefined : fault(`${file} cannot be run`)
      }),
  },
  {
    name: 'builder-self-test',
    fix: 'The words say which wall does not hold; builds here would not be safe, and none is started.',
    run: async (site) =>
      await here(site, async (builder) => {
        if (!isProgramIn(site, 'bwrap')) return skipped('there is no bubblewrap')
        const { failure } = await testWalls(commandOf(builder), AbortSignal.timeout(110_000))
        return failure === null ? undefined : fault(failure)
      }),
  },
]

/** For the builder on this host, if the site has one. */
function here<Result extends Outcome | Promise<Outcome>>(
  { config }: Site,
  look: (builder: BuilderHost) => Result,
): Result | Outcome {
  const local = config.builder.builders.find(({ executor }) => executor === 'local')
  if (!config.builder.enabled || local === undefined) return skipped('this host builds nothing')
  return look(local)
}

function program(site: Site, name: string): Outcome {
  if (isProgramIn(site, name)) return undefined
  return fault(`${name} is not in ${site.host.searchPath}`)
}

function isProgramIn({ host }: Site, name: string): boolean {
  return host.searchPath.split(':').some((directory) => isProgram(join(directory, name)))
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function commandOf({ runner, runnerConfig }: BuilderHost): readonly string[] {
  const program = runner ?? [
    process.execPath,
    '--enable-source-maps',
    join(packageRoot, 'dist/server/runner/main.js'),
  ]
  return runnerConfig === undefined ? program : [...program, '--config', runnerConfig]
}
