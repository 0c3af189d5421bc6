import { parseArgs } from 'node:util'

import { hostOperator } from '../../server/accounts/accounts.ts'
import type { ImageRule } from '../../server/content/image-policy.ts'
import type { Command } from '../command.ts'
import { UsageError } from '../exit.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const help = `berthctl policy: which images the spaces of the library take

  berthctl policy list [--json]            the rule of the site, and of each space
  berthctl policy set SPACE verified       takes only images that the keystore verifies
  berthctl policy set SPACE any|default    takes all; or follows the site (library.images)
  berthctl policy check [SPACE] [--json]   stored images that are not verified

A rule holds from the next push on. What was stored before stays: "policy check" lists it, of one space
or of all that ask for verified images, after looking at signatures that nobody has checked yet.
`

export const policyCommand: Command = {
  help,
  run: async ([verb, ...args]) => {
    if (verb === 'list') return await list(args)
    if (verb === 'set') return await set(args)
    if (verb === 'check') return await check(args)
    throw new UsageError('Say "policy list", "policy set SPACE RULE" or "policy check".')
  },
}

async function list(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { json: { type: 'boolean' } } })
  const config = configOfServer()
  await withAppliance(config, async ({ policy }) => {
    const spaces = await policy.list()
    if (values.json === true) {
      print({ site: config.library.images, spaces })
      return
    }
    process.stdout.write(`The site takes ${wordsOf(config.library.images)}.\n`)
    if (spaces.length === 0) return
    const rows = spaces.map(({ entity, images, own }) => [entity, images, own ? 'own' : 'site'])
    process.stdout.write(`\n${table([['Space', 'Images', 'Rule of'], ...rows])}`)
  })
}

async function set(args: string[]): Promise<void> {
  const { positionals } = parseArgs({ args, allowPositionals: true, options: {} })
  const [space, word, ...rest] = positionals
  if (space === undefined || rest.length > 0) throw new UsageError('Give one space and its rule.')
  const rule = parseRule(word)
  await withAppliance(configOfServer(), async ({ policy }) => {
    const { images } = await policy.set(hostOperator, space, rule)
    process.stdout.write(`${space} takes ${wordsOf(images)} from the next push on.\n`)
    const breaches = images === 'verified' ? await policy.breaches(space) : []
    if (breaches.length === 0) return
    process.stdout.write(
      `${countOf(breaches.length)} that it holds would not be taken now: berthctl policy check ${space}.\n`,
    )
  })
}

async function check(args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { json: { type: 'boolean' } },
  })
  const [space, ...rest] = positionals
  if (rest.length > 0) throw new UsageError('Give one space, or none for all.')
  await withAppliance(configOfServer(), async ({ policy, registry, imageChecks }) => {
    if (space !== undefined) await registry.getEntity(space)
    await imageChecks.workOff()
    const breaches = await policy.breaches(space)
    if (values.json === true) {
      print(breaches)
      return
    }
    const where = space ?? 'the spaces that ask for verified images'
    if (breaches.length === 0) {
      process.stdout.write(`All images of ${where} are verified.\n`)
      return
    }
    const rows = breaches.map(({ image, digest, tags, uploadedBy, state }) => [
      `${image}:${tags[0] ?? digest.replace(':', '.')}`,
      uploadedBy ?? '',
      state,
    ])
    process.stdout.write(table([['Image', 'Pushed by', 'Signatures'], ...rows]))
    process.stdout.write(`\n${countOf(breaches.length)} of ${where}, not verified.\n`)
  })
}

function parseRule(word: string | undefined): ImageRule | null {
  if (word === 'verified' || word === 'any') return word
  if (word === 'default') return null
  throw new UsageError('A rule is verified, any or default.')
}

function wordsOf(rule: ImageRule): string {
  return rule === 'verified' ? 'only images that the keystore verifies' : 'all images'
}

function countOf(images: number): string {
  return images === 1 ? '1 image' : `${images} images`
}

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}
