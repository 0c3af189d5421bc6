/** `singularity enterprise get` and `describe`: listings and single objects. */
import { z } from 'zod'

import { UsageError } from '../exit.ts'
import {
  collectionColumns,
  containerColumns,
  entityColumns,
  imageColumns,
  tokenColumns,
  userColumns,
} from './columns.ts'
import type { Column } from './columns.ts'
import { describeText } from './describe.ts'
import { agents, buildOf, builds } from './get-builds.ts'
import { collection, container, entity, image, token, user } from './objects.ts'
import type { Token } from './objects.ts'
import { render } from './output.ts'
import { eachOf, namesOf } from './rows.ts'
import type { GetOptions, Report } from './rows.ts'
import { encode } from './services.ts'
import type { ServiceName, Services } from './services.ts'

/** Labels of tokens that programs made, which are left out unless asked for. */
const automatic = /^(?:Token for user|Ephemeral token for user|Remote Build)/

interface Kind<Row> {
  readonly title: string
  readonly service: ServiceName
  readonly row: z.ZodType<Row>
  readonly columns: readonly Column<Row>[]
  /** The listing that a reference means, and undefined when it names single objects. */
  readonly listing: (refs: readonly string[]) => string | undefined
  readonly single: (ref: string) => string
  readonly sortBy?: (row: Row) => string
}

/** Keeps the row type of each kind together with its columns. */
function kind<Row extends object>(value: Kind<Row>): Kind<Row> {
  return value
}

const entities = kind({
  title: 'Entity',
  service: 'library',
  row: entity,
  columns: entityColumns,
  listing: (refs) => (refs.length === 0 ? '/v1/entities' : undefined),
  single: (ref) => `/v1/entities/${encode(ref)}`,
  sortBy: (row) => row.name,
})
const collections = kind({
  title: 'Collection',
  service: 'library',
  row: collection,
  columns: collectionColumns,
  listing: ([ref, ...rest]) =>
    ref !== undefined && rest.length === 0 && !ref.includes('/')
      ? `/v1/entities/${encode(ref)}/_collections`
      : undefined,
  single: (ref) => `/v1/collections/${encode(ref)}`,
  sortBy: (row) => `${row.entityName}\0${row.name}`,
})
const containers = kind({
  title: 'Container',
  service: 'library',
  row: container,
  columns: containerColumns,
  listing: ([ref, ...rest]) =>
    ref !== undefined && rest.length === 0 && ref.split('/').length === 2
      ? `/v1/collections/${encode(ref)}/_containers`
      : undefined,
  single: (ref) => `/v1/containers/${encode(ref)}`,
  sortBy: (row) => `${row.entityName}\0${row.collectionName}\0${row.name}`,
})
const images = kind({
  title: 'Image',
  service: 'library',
  row: image,
  columns: imageColumns,
  listing: ([ref, ...rest]) =>
    ref !== undefined && rest.length === 0 && !ref.includes(':')
      ? `/v1/containers/${encode(ref)}/_images`
      : undefined,
  single: (ref) => `/v1/images/${encode(ref)}`,
})
const users = kind({
  title: 'User',
  service: 'consent service',
  row: user,
  columns: userColumns,
  listing: (refs) => (refs.length === 0 ? '/v1/admin/users' : undefined),
  single: (ref) => `/v1/admin/users/${encode(ref)}`,
})

const nouns: Readonly<Record<string, string>> = {
  prj: 'entity',
  project: 'entity',
  projects: 'entity',
  ent: 'entity',
  entity: 'entity',
  entities: 'entity',
  col: 'collection',
  collection: 'collection',
  collections: 'collection',
  rep: 'container',
  repository: 'container',
  repositories: 'container',
  con: 'container',
  container: 'container',
  containers: 'container',
  img: 'image',
  image: 'image',
  images: 'image',
  bld: 'build',
  build: 'build',
  builds: 'build',
  age: 'agent',
  'build-agent': 'agent',
  'build-agents': 'agent',
  usr: 'user',
  user: 'user',
  users: 'user',
  tok: 'token',
  token: 'token',
  tokens: 'token',
}

export function nounOf(word: string | undefined): string {
  const noun = word !== undefined && Object.hasOwn(nouns, word) ? nouns[word] : undefined
  if (noun !== undefined) return noun
  throw new UsageError(
    'Say what: prj (projects), col (collections), rep (repositories), img (images), tok (tokens), usr (users), bld (builds), age (build-agents).',
  )
}

/** Returns what goes to standard output. */
export async function get(
  services: Services,
  noun: string,
  refs: readonly string[],
  options: GetOptions,
  report: Report,
): Promise<string> {
  switch (noun) {
    case 'entity':
      return await listing(services, entities, refs, options, report)
    case 'collection':
      return await listing(services, collections, refs, options, report)
    case 'container':
      return await listing(services, containers, refs, options, report)
    case 'image':
      return await listing(services, images, refs, options, report)
    case 'user':
      return await listing(services, users, await services.accountIds(refs), options, report)
    case 'build':
      return await builds(services, refs, options, report)
    case 'agent':
      return await agents(services, refs, options)
    default:
      return await tokens(services, refs, options, report)
  }
}

export async function describe(services: Services, noun: string, ref: string): Promise<string> {
  switch (noun) {
    case 'entity':
      return await describeOne(services, entities, ref, ref)
    case 'collection':
      return await describeOne(services, collections, ref, ref)
    case 'container':
      return await describeOne(services, containers, ref, ref)
    case 'image':
      return await describeOne(services, images, ref, ref)
    case 'user': {
      const [id = ref] = await services.accountIds([ref])
      return await describeOne(services, users, ref, id)
    }
    case 'build':
      return describeText('Build', ref, await buildOf(services, ref))
    case 'agent':
      throw new UsageError('Builders are listed only: singularity enterprise get age.')
    default: {
      return describeText('Token', ref, await tokenOf(services, ref))
    }
  }
}

async function listing<Row extends object>(
  services: Services,
  { service, row, columns, listing, single, sortBy }: Kind<Row>,
  refs: readonly string[],
  { form }: GetOptions,
  report: Report,
): Promise<string> {
  const path = listing(refs)
  if (path === undefined && refs.length === 0) throw new UsageError('An identifier is needed.')
  const found =
    path === undefined
      ? await eachOf(refs, report, async (ref) => {
          return (await services.get(service, single(ref), z.object({ data: row }))).data
        })
      : ((await services.get(service, path, z.object({ data: z.array(row).nullish() }))).data ?? [])
  // Names are compared as bytes.
  const sorted = sortBy
    ? found.toSorted((a, b) => (sortBy(a) < sortBy(b) ? -1 : Number(sortBy(a) > sortBy(b))))
    : found
  return render(form, sorted, columns)
}

async function describeOne<Row extends object>(
  services: Services,
  { title, service, row, single }: Kind<Row>,
  typed: string,
  ref: string,
): Promise<string> {
  const { data } = await services.get(service, single(ref), z.object({ data: row }))
  return describeText(title, typed, data)
}

async function tokens(
  services: Services,
  refs: readonly string[],
  options: GetOptions,
  report: Report,
): Promise<string> {
  const all =
    refs.length > 0
      ? await eachOf(refs, report, async (ref) => await tokenOf(services, ref))
      : await tokensOf(services, options, report)
  const rows = all.filter(({ label }) => options.showAuto || !automatic.test(label))
  const ids = rows.map(({ subject }) => subject)
  return render(options.form, rows, tokenColumns(await namesOf(services, ids, options, report)))
}

async function tokensOf(services: Services, options: GetOptions, report: Report): Promise<Token[]> {
  const [id = services.accountId] = await services.accountIds(
    options.user === undefined ? [] : [options.user],
  )
  report.info(`Listing tokens of user ${id}`)
  const query = new URLSearchParams({
    ...(options.showDisabled ? { all: 'true' } : {}),
    ...(id === '' ? {} : { sub: id }),
  })
  return await services.get('token service', `/v1/tokens?${query.toString()}`, z.array(token))
}

async function tokenOf(services: Services, id: string): Promise<Token> {
  return await services.get('token service', `/v1/token/${encode(id)}`, token)
}
