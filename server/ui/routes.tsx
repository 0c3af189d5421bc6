import type { Router } from 'express'

import type { Config } from '../config.ts'
import { parseRepository } from '../content/names.ts'
import type { Registry } from '../content/registry.ts'
import { actorOf } from '../http/actor.ts'
import { newRouter } from '../http/router.ts'
import { packageRoot } from '../package-root.ts'
import { hintFor } from './build-routes.tsx'
import { ContainerPage, HomePage, TokenPage } from './pages.tsx'
import { sendPage, sendProblem, siteOf } from './send-page.tsx'

export function publicPages(config: Config): Router {
  const router = newRouter()
  const site = siteOf(config)

  router.get('/assets/berth.css', (_req, res) => {
    res.sendFile('server/ui/berth.css', { root: packageRoot, maxAge: '5m' })
  })
  router.get('/', (_req, res) => sendPage(res, <HomePage site={site} />))
  router.get('/auth/tokens', (_req, res) => sendPage(res, <TokenPage site={site} />))
  return router
}

export function containerPages(config: Config, registry: Registry): Router {
  const router = newRouter()
  const site = siteOf(config)

  router.get('/library/:entity/:collection/:container', async (req, res) => {
    const { entity, collection } = req.params
    // After a detached build the stock client prints the address with the tag.
    const [container = ''] = req.params.container.split(':', 1)
    try {
      const name = parseRepository(`${entity}/${collection}/${container}`, {
        entity: config.library.defaultEntity,
        collection: config.library.defaultCollection,
      })
      const repository = await registry.getRepository(actorOf(req), name)
      const images = await registry.imagesOf(repository)
      sendPage(res, <ContainerPage site={site} repository={repository} images={images} />)
    } catch (error) {
      sendProblem(res, site, error, hintFor(container))
    }
  })

  return router
}
