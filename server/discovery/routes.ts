/** Where the services are, which version they have, and whether they are well. */
import type { Router } from 'express'

import type { Config } from '../config.ts'
import { newRouter } from '../http/router.ts'
import { libraryApiVersion, serviceVersion } from '../version.ts'

/** True when everything that a request needs answers. */
export type Readiness = () => Promise<boolean>

export function discoveryRoutes(config: Config, ready: Readiness): Router {
  const router = newRouter()
  const { services } = config

  // Every top-level value must be an object, no address may end in a slash, and all six must be
  // there for the enterprise plugin (protocol.md 1.1, enterprise.md 2.2). The addresses come from
  // the configuration only: clients send their tokens to whatever is named here.
  const document = {
    libraryAPI: { uri: services.library, registryUri: services.registry },
    keystoreAPI: { uri: services.keystore },
    tokenAPI: { uri: services.token },
    builderAPI: { uri: services.builder, managerUri: services.builderManager },
    consentAPI: { uri: services.consent },
    site: { name: config.siteName },
  }
  router.get('/assets/config/config.prod.json', (_req, res) => {
    res.set('Cache-Control', 'no-store').json(document)
  })

  router.get('/version', (_req, res) => {
    res.json({ data: { version: serviceVersion, apiVersion: libraryApiVersion } })
  })

  router.get('/healthz', (_req, res) => {
    res.json({ data: { status: 'ok' } })
  })
  router.get('/readyz', async (_req, res) => {
    const isReady = await ready()
    res.status(isReady ? 200 : 503).json({ data: { status: isReady ? 'ready' : 'not ready' } })
  })

  return router
}
