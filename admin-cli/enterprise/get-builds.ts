/** `get builds` and `get build-agents`: what the builders do and have done. */
import { z } from 'zod'

import { UsageError } from '../exit.ts'
import { agentColumns, buildColumns } from './columns.ts'
import { agent, build } from './objects.ts'
import type { Build } from './objects.ts'
import { render } from './output.ts'
import { eachOf, namesOf } from './rows.ts'
import type { GetOptions, Report } from './rows.ts'
import { encode } from './services.ts'
import type { Services } from './services.ts'

const dayMs = 86_400_000

/** Those with these IDs, or else one's own of the last day. */
export async function builds(
  services: Services,
  refs: readonly string[],
  options: GetOptions,
  report: Report,
): Promise<string> {
  const rows =
    refs.length > 0
      ? await eachOf(refs, report, async (ref) => await buildOf(services, ref))
      : await buildsOf(services, options, report)
  const ids = rows.map(({ createdBy }) => createdBy)
  return render(options.form, rows, buildColumns(await namesOf(services, ids, options, report)))
}

export async function buildOf(services: Services, id: string): Promise<Build> {
  const shape = z.object({ data: build })
  return (await services.get('build server', `/v1/build/${encode(id)}`, shape)).data
}

async function buildsOf(services: Services, options: GetOptions, report: Report): Promise<Build[]> {
  const { all, from: typed, to } = options
  const [user = services.accountId] = await services.accountIds(
    options.user === undefined ? [] : [options.user],
  )
  const ofOne = !all && user !== ''
  const isRecent = typed === undefined && to === undefined
  const from = isRecent ? new Date(Date.now() - dayMs).toISOString() : typed
  const whose = ofOne ? `of user ${user}` : 'of all users'
  report.info(`Listing builds ${whose}${isRecent ? ' in the last 24 hours' : ''}`)
  const query = new URLSearchParams({
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(ofOne ? { user } : {}),
  })
  const shape = z.object({ data: z.array(build).nullish() })
  return (await services.get('build server', `/v1/build?${query.toString()}`, shape)).data ?? []
}

/** The builders of a pool, of which a site has one. */
export async function agents(
  services: Services,
  [pool = 'default', ...rest]: readonly string[],
  { form }: GetOptions,
): Promise<string> {
  if (rest.length > 0) throw new UsageError('Give one pool of builders, or none.')
  const path = `/v1/admin/agent-pool/${encode(pool)}`
  const shape = z.object({ data: z.array(agent).nullish() })
  const { data } = await services.get('build manager', path, shape)
  return render(form, data ?? [], agentColumns)
}
