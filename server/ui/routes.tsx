import type { Response, Router } from 'express'
import type { VNode } from 'preact'
import { renderToString } from 'preact-render-to-string'

import type { Config } from '../config.ts'
import { parseRepository } from '../content/names.ts'
import type { Registry } from '../content/registry.ts'
import { actorOf } from '../http/actor.ts'
import { problemOf } from '../http/problem.ts'
import { newRouter } from '../http/router.ts'
import { packageRoot } from '../package-root.ts'
import { ContainerPage, HomePage, ProblemPage, TokenPage } from './pages.tsx'
import type { Site } from './pages.tsx'

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
    const { entity, collection, container } = req.params
    try {
      const name = parseRepository(`${entity}/${collection}/${container}`, {
        entity: config.library.defaultEntity,
        collection: config.library.defaultCollection,
      })
      const repository = await registry.getRepository(actorOf(req), name)
      const images = await registry.imagesOf(repository)
      sendPage(res, <ContainerPage site={site} repository={repository} images={images} />)
    } catch (error) {
      const { status, message } = problemOf(error)
      if (status >= 500) throw error
      sendPage(res.status(status), <ProblemPage site={site} message={message} />)
    }
  })

  return router
}

function siteOf(config: Config): Site {
  return { name: config.siteName, url: config.publicUrl }
}

function sendPage(res: Response, page: VNode): void {
  res.type('html').send(`<!doctype html>${renderToString(page)}`)
}
