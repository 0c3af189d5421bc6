import { verb } from '../../command.ts'
import { UsageError } from '../../exit.ts'
import { hostOperator } from '../../operator.ts'
import { sizeOf } from '../../size-option.ts'
import { sizeInWords } from '../../size-words.ts'
import { configOfServer, withAppliance } from '../../with-appliance.ts'
import { groupPrefix, placeWord } from './place-word.ts'

const defaultOption = {
  type: 'boolean',
  summary: 'of all spaces that have no quota of their own, instead of one',
} as const

export const set = verb({
  name: 'set',
  summary: 'how much a space may hold, from this moment on',
  arguments: { NAME: { ...placeWord, optional: true }, SIZE: { optional: true } },
  options: { default: defaultOption },
  notes:
    'SIZE is 200GiB, 1.5TiB or a number of bytes; 0 stops all pushes. It acts with the next upload; one that is running has its bytes already. Below what is stored nothing is removed, and only deletions and pulls work until it fits again. What is set with --default holds before quota.default of the configuration, until "quota reset --default".',
  run: async ({ NAME: first, SIZE: second }, { default: isDefault }) => {
    // With --default the only word is the size.
    const text = isDefault ? first : second
    if (first === undefined || text === undefined || (isDefault && second !== undefined)) {
      throw new UsageError('Say "quota set NAME SIZE" or "quota set --default SIZE".')
    }
    const size = sizeOf(text)
    await withAppliance(configOfServer(), async ({ quotas }) => {
      if (isDefault) {
        await quotas.setDefault(hostOperator, size)
        process.stdout.write(`A space may hold ${sizeInWords(size)} unless it has its own quota.\n`)
        return
      }
      const space = await quotas.setByName(hostOperator, targetOf(first), size)
      process.stdout.write(await sentence(space))

      async function sentence(name: string): Promise<string> {
        const [one] = await quotas.list(hostOperator, name)
        const used = (one?.usedBytes ?? 0) + (one?.reservedBytes ?? 0)
        const said = `${name} may hold ${sizeInWords(size)}, and holds ${sizeInWords(used)}.`
        return used > size
          ? `${said} That is too much: it takes no push until something is deleted.\n`
          : `${said}\n`
      }
    })
  },
})

export const reset = verb({
  name: 'reset',
  summary: 'gives a space the default again, and a group what [groups] gives it',
  arguments: { NAME: { ...placeWord, optional: true } },
  options: { default: { ...defaultOption, summary: 'lets quota.default hold again, instead' } },
  run: async ({ NAME: name }, { default: isDefault }) => {
    if (isDefault === (name !== undefined)) {
      throw new UsageError('Say "quota reset NAME" or "quota reset --default".')
    }
    await withAppliance(configOfServer(), async ({ quotas }) => {
      if (name === undefined) {
        await quotas.setDefault(hostOperator, null)
        const { bytes } = await quotas.default(hostOperator)
        process.stdout.write(`The default is that of the configuration: ${sizeInWords(bytes)}.\n`)
        return
      }
      const space = await quotas.setByName(hostOperator, targetOf(name), null)
      const [one] = await quotas.list(hostOperator, space)
      process.stdout.write(`${space} may hold ${sizeInWords(one?.quotaBytes ?? 0)} again.\n`)
    })
  },
})

function targetOf(word: string): { name: string; kind: 'any' | 'group' } {
  return word.startsWith(groupPrefix)
    ? { name: word.slice(groupPrefix.length), kind: 'group' }
    : { name: word, kind: 'any' }
}
