/** Where the services are, which version they have, and whether they are well. */
import type { Router } from 'express'

import type { Config } from '../config.ts'
import type { Health } from '../health.ts'
import { newRouter } from '../http/router.ts'
import { libraryApiVersion, serviceVersion } from '../version.ts'

/** What /assets/config/config.prod.json holds. */
export function discoveryDocument({
  services,
  siteName,
}: Config): Readonly<Record<string, Readonly<Record<string, string>>>> {
  // Every top-level value must be an object, no address may end in a slash, and all six must be
  // there for the enterprise plugin (protocol.md 1.1, enterprise.md 2.2). The addresses come from
  // the configuration only: clients send their tokens to whatever is named here.
  return {
    libraryAPI: { uri: services.library, registryUri: services.registry },
    keystoreAPI: { uri: services.keystore },
    tokenAPI: { uri: services.token },
    builderAPI: { uri: services.builder, managerUri: services.builderManager },
    consentAPI: { uri: services.consent },
    site: { name: siteName },
  }
}

export function discoveryRoutes(config: Config, health: Health): Router {
  const router = newRouter()
  const document = discoveryDocument(config)

  router.get('/assets/config/config.prod.json', (_req, res) => {
    res.set('Cache-Control', 'no-store').json(document)
  })

  router.get('/version', (_req, res) => {
    res.json({ data: { version: serviceVersion, apiVersion: libraryApiVersion } })
  })

  router.get('/healthz', (_req, res) => {
    res.json({ data: { status: 'ok' } })
  })
  // For whoever watches: nothing in it that strangers should not know. Why is in the log.
  router.get('/readyz', async (_req, res) => {
    const report = await health()
    res.status(report.status === 'not ready' ? 503 : 200).json({ data: report })
  })

  return router
}
