import { verb } from '../../command.ts'
import { UsageError } from '../../exit.ts'
import { jsonOption, printJson } from '../../json-option.ts'
import { hostOperator } from '../../operator.ts'
import { sizeInWords } from '../../size-words.ts'
import { table } from '../../table.ts'
import { configOfServer, withAppliance } from '../../with-appliance.ts'
import { filterOf, filterOptions, imageTable, limitOf, sumOf } from './filter.ts'
import { archOption, imageNamed, referenceWord } from './reference.ts'

export const list = verb({
  name: 'list',
  summary: 'images, by what they have in common',
  options: {
    ...filterOptions,
    oldest: { type: 'boolean', summary: 'the oldest first' },
    largest: { type: 'boolean', summary: 'the largest first' },
    limit: { type: 'string', value: 'N', summary: 'the first N (default: all)' },
    json: jsonOption,
  },
  notes: 'Several options together mean images for which all of them are true.',
  run: async (_words, { oldest, largest, limit, json, ...values }) => {
    if (oldest && largest) throw new UsageError('Say --oldest or --largest.')
    const order = oldest ? 'oldest' : largest ? 'largest' : 'path'
    const filter = { ...filterOf(values), order, limit: limitOf(limit) } as const
    await withAppliance(configOfServer(), async ({ holdings }) => {
      const images = await holdings.images(hostOperator, filter)
      if (json) return printJson(images)
      if (images.length === 0) process.stdout.write('There is no such image.\n')
      else process.stdout.write(`${imageTable(images)}\n${sumOf(images)}.\n`)
    })
  },
})

export const show = verb({
  name: 'show',
  summary: 'all about one image, its signatures too',
  arguments: { IMAGE: referenceWord },
  options: { arch: archOption, json: jsonOption },
  run: async ({ IMAGE: text }, { arch, json }) => {
    await withAppliance(configOfServer(), async (appliance) => {
      const image = await imageNamed(appliance, text, arch)
      const { path: repository, digest } = image
      const found = await appliance.holdings.images(hostOperator, { repository })
      const pulledAt = found.find((one) => one.digest === digest)?.pulledAt ?? null
      if (json) return printJson({ ...image, pulledAt })
      const facts = [
        ['Container', image.path],
        ['Tags', image.tags.join(', ') || '-'],
        ['Hash', image.digest],
        ['Manifest', image.manifestDigest],
        ['Size', `${sizeInWords(image.sizeBytes)} (${image.sizeBytes} bytes)`],
        ['Architecture', image.arch || '-'],
        ['Owner', image.ownerName ?? '(the site)'],
        ['Readers', image.private ? 'private' : 'everybody'],
        ['Description', image.description || '-'],
        ['Came', image.uploadedAt.toISOString()],
        ['Pulled', pulledAt?.toISOString() ?? 'never'],
        ['Encrypted', image.encrypted ? 'yes' : 'no'],
        ['Signatures', image.signatureReason ?? image.signatureState],
      ]
      process.stdout.write(table(facts))
      if (image.signers.length === 0) return
      const signers = image.signers.map((signer) => [
        signer.fingerprint ?? signer.keyId ?? '-',
        signer.account ?? '-',
        signer.state,
        signer.signedAt?.slice(0, 10) ?? '-',
        signer.reason ?? '',
      ])
      const head = ['Key', 'Account', 'State', 'Signed', 'Reason']
      process.stdout.write(`\n${table([head, ...signers])}`)
    })
  },
})
