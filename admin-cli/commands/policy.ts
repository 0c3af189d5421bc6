import type { ImageRule } from '../../server/content/image-policy.ts'
import { verb } from '../command.ts'
import type { Command } from '../command.ts'
import { UsageError } from '../exit.ts'
import { jsonOption, printJson } from '../json-option.ts'
import { hostOperator } from '../operator.ts'
import { table } from '../table.ts'
import { configOfServer, withAppliance } from '../with-appliance.ts'

const list = verb({
  name: 'list',
  summary: 'the rule of the site, and of each space',
  options: { json: jsonOption },
  run: async (_words, { json }) => {
    const config = configOfServer()
    await withAppliance(config, async ({ policy }) => {
      const spaces = await policy.list()
      if (json) {
        printJson({ site: config.library.images, spaces })
        return
      }
      process.stdout.write(`The site takes ${wordsOf(config.library.images)}.\n`)
      if (spaces.length === 0) return
      const rows = spaces.map(({ entity, images, own }) => [entity, images, own ? 'own' : 'site'])
      process.stdout.write(`\n${table([['Space', 'Images', 'Rule of'], ...rows])}`)
    })
  },
})

const set = verb({
  name: 'set',
  summary: 'whether a space takes only images that the keystore verifies',
  arguments: {
    SPACE: { complete: 'space' },
    RULE: {
      summary: 'verified; any; or default, which follows the site (library.images)',
      complete: ['verified', 'any', 'default'],
    },
  },
  run: async ({ SPACE: space, RULE: word }) => {
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
  },
})

const check = verb({
  name: 'check',
  summary: 'stored images that are not verified',
  arguments: {
    SPACE: {
      optional: true,
      summary: 'one space instead of all that ask for verified images',
      complete: 'space',
    },
  },
  options: { json: jsonOption },
  run: async ({ SPACE: space }, { json }) => {
    await withAppliance(configOfServer(), async ({ policy, registry, imageChecks }) => {
      if (space !== undefined) await registry.getEntity(space)
      await imageChecks.workOff()
      const breaches = await policy.breaches(space)
      if (json) {
        printJson(breaches)
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
  },
})

function parseRule(word: string): ImageRule | null {
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

export const policyCommand: Command = {
  name: 'policy',
  summary: 'which images the spaces of the library take',
  verbs: [list, set, check],
  notes:
    'A rule holds from the next push on. What was stored before stays: "policy check" lists it, after looking at signatures that nobody has checked yet.',
}
