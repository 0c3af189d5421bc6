/**
 * The consent service of the enterprise interface (enterprise.md 8.2): users, groups and roles. It
 * says 401 to whoever is not an administrator, and knows no 403 and no 409.
 */
import type { Request, Router } from 'express'
import { z } from 'zod'

import type { AccountActor, Actor } from '../accounts/actor.ts'
import { requireAccount, requireAdministrator } from '../accounts/permissions.ts'
import type { Person, Roster } from '../accounts/roster.ts'
import type { SpaceQuotas } from '../content/space-quotas.ts'
import { notFound } from '../failure.ts'
import { actorOf } from '../http/actor.ts'
import { jsonBody, parse } from '../http/parse.ts'
import { newRouter } from '../http/router.ts'
import { speaking } from './dialect.ts'
import { parseIdentifier } from './identifier.ts'
import { administrator, groupJson, userJson } from './json.ts'

const mib = 2 ** 20
const maxMib = Number.MAX_SAFE_INTEGER / mib

// Front ends send all three; build times are not limited here, so only 0 can be promised for them.
const notLimited = z.literal(0, 'build times are not limited here: leave it out').nullish()
const quota = z.strictObject({
  /** MiB; null is the site's default. */
  maxLibrarySize: z.number().min(0).max(maxMib).nullable(),
  maxBuildTime: notLimited,
  maxBuildTimeCumulative: notLimited,
})

export function userRoutes(roster: Roster, quotas: SpaceQuotas): Router {
  const router = newRouter()

  router.get('/v1/admin/users', async (req, res) => {
    const people = await roster.list(actorOf(req))
    const bytes = await quotas.ofAll(people)
    res.json({ data: people.map((person) => userJson(person, bytes.get(person.id) ?? 0)) })
  })

  // The plugin shows a name for each user ID and asks here for it, for plain users too.
  router.get('/v1/admin/users/:id', async (req, res) => {
    const actor = requireAccount(actorOf(req))
    res.json({ data: await shown(await roster.find(actor, userId(req))) })
  })

  router.post(
    '/v1/admin/users/:id/updatequota',
    jsonBody(),
    async (req: Request<{ id: string }>, res) => {
      const actor = requireAdministrator(actorOf(req))
      const id = userId(req)
      const { maxLibrarySize } = parse(quota, req.body)
      const person = await roster.find(actor, id)
      const bytes = maxLibrarySize === null ? null : Math.floor(maxLibrarySize * mib)
      await quotas.set(actor, person, bytes)
      res.json({ data: await shown(person) })
    },
  )

  router.post('/v1/admin/users/:id/activate', async (req, res) => {
    const actor = requireAdministrator(actorOf(req))
    res.json({ data: await shown(await roster.setActive(actor, userId(req), true)) })
  })
  router.post('/v1/admin/users/:id/deactivate', async (req, res) => {
    const actor = requireAdministrator(actorOf(req))
    res.json({ data: await shown(await roster.setActive(actor, userId(req), false)) })
  })

  router.post('/v1/admin/users/:id/role/:role', async (req, res) => {
    const actor = knownRole(actorOf(req), req.params.role)
    res.json({ data: await shown(await roster.setAdministrator(actor, userId(req), true)) })
  })
  router.delete('/v1/admin/users/:id/role/:role', async (req, res) => {
    const actor = knownRole(actorOf(req), req.params.role)
    res.json({ data: await shown(await roster.setAdministrator(actor, userId(req), false)) })
  })

  // What the directory and the configuration rule is explained, not changed.
  const changeMembership = async (req: Request<{ id: string; group: string }>): Promise<void> => {
    const actor = requireAdministrator(actorOf(req))
    await roster.refuseMembershipChange(actor, userId(req), req.params.group)
  }
  router.post('/v1/admin/users/:id/group/:group', changeMembership)
  router.delete('/v1/admin/users/:id/group/:group', changeMembership)
  const changeGroupRole = async (req: Request<{ group: string; role: string }>): Promise<void> => {
    const actor = knownRole(actorOf(req), req.params.role)
    await roster.refuseGroupRoleChange(actor, req.params.group)
  }
  router.post('/v1/admin/groups/:group/role/:role', changeGroupRole)
  router.delete('/v1/admin/groups/:group/role/:role', changeGroupRole)

  router.get('/v1/admin/groups', async (req, res) => {
    res.json({ data: (await roster.groups(actorOf(req))).map(groupJson) })
  })
  router.get('/v1/admin/groups/:group', async (req, res) => {
    res.json({ data: groupJson(await roster.group(actorOf(req), req.params.group)) })
  })

  router.get('/v1/admin/roles', (req, res) => {
    requireAdministrator(actorOf(req))
    res.json({ data: [administrator] })
  })
  router.get('/v1/admin/roles/:role', (req, res) => {
    knownRole(actorOf(req), req.params.role)
    res.json({ data: administrator })
  })

  router.get('/v1/stats/users', async (req, res) => {
    const { accounts, byProvider } = await roster.statistics(actorOf(req))
    res.json({ data: { entitiesStored: accounts, usersByProvider: byProvider } })
  })

  router.use(speaking({ denied: 'unauthenticated', conflict: 'invalid' }))

  async function shown(person: Person): Promise<object> {
    return userJson(person, await quotas.of(person))
  }

  return router
}

function userId(req: Request<{ id: string }>): string {
  return parseIdentifier(req.params.id, 'user')
}

/** For administrators only, who then hear whether there is such a role. */
function knownRole(actor: Actor, name: string): AccountActor {
  const admin = requireAdministrator(actor)
  if (name === administrator.name) return admin
  throw notFound(
    'account',
    `There is no role "${name}" here: the only one is "${administrator.name}".`,
  )
}
