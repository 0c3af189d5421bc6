import { findAccount } from '../../../server/accounts/accounts.ts'
import type { SpaceQuota } from '../../../server/content/space-quotas.ts'
import { verb } from '../../command.ts'
import { CommandError } from '../../exit.ts'
import { jsonOption, printJson } from '../../json-option.ts'
import { hostOperator } from '../../operator.ts'
import { sizeInWords } from '../../size-words.ts'
import { table } from '../../table.ts'
import { configOfServer, withAppliance } from '../../with-appliance.ts'
import { groupPrefix, placeWord } from './place-word.ts'

export const list = verb({
  name: 'list',
  summary: 'all spaces, what they may hold and what they do, and the default',
  options: { json: jsonOption },
  run: async (_words, { json }) => {
    await withAppliance(configOfServer(), async ({ quotas }) => {
      const spaces = await quotas.list(hostOperator)
      const usual = await quotas.default(hostOperator)
      if (json) return printJson({ default: usual, spaces })
      const from = usual.setBytes === null ? 'configuration' : 'berthctl quota set --default'
      process.stdout.write(`default: ${sizeInWords(usual.bytes)} (${from})\n`)
      if (spaces.length === 0) return
      const head = ['Space', 'Kind', 'Quota', 'Own', 'Used', 'Uploads', 'Share']
      process.stdout.write(`\n${table([head, ...spaces.map(cellsOf)])}`)
    })
  },
})

export const show = verb({
  name: 'show',
  summary: 'what one space may hold and what it does',
  arguments: { NAME: placeWord },
  options: { json: jsonOption },
  run: async ({ NAME: word }, { json }) => {
    const name = word.startsWith(groupPrefix) ? word.slice(groupPrefix.length) : word
    await withAppliance(configOfServer(), async ({ database, quotas }) => {
      const [found] = await quotas.list(hostOperator, name)
      if (found === undefined && (await findAccount(database, name)) === undefined) {
        throw new CommandError(`There is no space and no account "${name}".`)
      }
      const { bytes } = await quotas.default(hostOperator)
      // Before the first push there is no space, and the default waits for it.
      const space: SpaceQuota = found ?? {
        space: name,
        owner: name,
        kind: 'user',
        quotaBytes: bytes,
        ownQuotaBytes: null,
        usedBytes: 0,
        reservedBytes: 0,
      }
      if (json) return printJson(space)
      const free = space.quotaBytes - space.usedBytes - space.reservedBytes
      process.stdout.write(
        table([
          ['Space', space.space],
          ['Owner', space.owner ?? '(the site)'],
          ['Quota', `${sizeInWords(space.quotaBytes)}${isOwn(space) ? '' : ' (default)'}`],
          ['Used', sizeInWords(space.usedBytes)],
          ['Uploads', sizeInWords(space.reservedBytes)],
          ['Free', free < 0 ? `none: ${sizeInWords(-free)} too much` : sizeInWords(free)],
        ]),
      )
    })
  },
})

function cellsOf(space: SpaceQuota): string[] {
  const { quotaBytes, usedBytes, reservedBytes } = space
  const taken = usedBytes + reservedBytes
  return [
    space.space,
    space.kind,
    sizeInWords(quotaBytes),
    isOwn(space) ? 'yes' : 'no',
    sizeInWords(usedBytes),
    sizeInWords(reservedBytes),
    quotaBytes === 0 ? '-' : `${Math.round((100 * taken) / quotaBytes)} %`,
  ]
}

function isOwn({ ownQuotaBytes }: SpaceQuota): boolean {
  return ownQuotaBytes !== null
}
