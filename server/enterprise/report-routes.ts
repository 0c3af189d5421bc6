/**
 * What the library of the enterprise interface tells about itself (enterprise.md 8.3): its health,
 * how much there is, and who holds how much.
 */
import type { Router } from 'express'

import type { LibraryReports } from '../content/reports.ts'
import { actorOf } from '../http/actor.ts'
import { newRouter } from '../http/router.ts'
import { libraryApiVersion, serviceVersion } from '../version.ts'

/** Open on every site, and without envelope; the consent service has the same address. */
export function healthRoutes(): Router {
  const router = newRouter()
  router.get('/v1/health', (req, res) => {
    const actor = actorOf(req)
    const user = actor.kind === 'account' ? { user: actor.accountId } : {}
    res.json({ version: serviceVersion, apiVersion: libraryApiVersion, ...user })
  })
  return router
}

export function reportRoutes(reports: LibraryReports): Router {
  const router = newRouter()

  router.get('/v1/stats/library', async (req, res) => {
    const counts = await reports.counts(actorOf(req))
    res.json({
      entitiesStored: counts.entities,
      collectionsStored: counts.collections,
      containersStored: counts.repositories,
      imagesStored: counts.images,
    })
  })

  router.get('/v1/reports/entities', async (req, res) => {
    const rows = await reports.entities(actorOf(req))
    res.json({
      data: rows.map((row) => ({
        path: row.entity,
        entityID: row.entity,
        entityName: row.entity,
        size: row.sizeBytes,
        collectionCount: row.collections,
      })),
    })
  })

  router.get('/v1/reports/collections', async (req, res) => {
    const rows = await reports.collections(actorOf(req))
    res.json({
      data: rows.map((row) => ({
        path: `${row.entity}/${row.collection}`,
        entityID: row.entity,
        entityName: row.entity,
        collectionID: `${row.entity}/${row.collection}`,
        collectionName: row.collection,
        size: row.sizeBytes,
        containerCount: row.repositories,
      })),
    })
  })

  router.get('/v1/reports/containers', async (req, res) => {
    const rows = await reports.repositories(actorOf(req))
    res.json({
      data: rows.map((row) => ({
        path: row.path,
        entityID: row.entity,
        entityName: row.entity,
        collectionID: `${row.entity}/${row.collection}`,
        collectionName: row.collection,
        containerID: row.path,
        containerName: row.repository,
        size: row.sizeBytes,
        imageCount: row.images,
      })),
    })
  })

  return router
}
