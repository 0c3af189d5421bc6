/** The one list of middleware and routers, read from top to bottom. */
import express from 'express'
import type { Express, RequestHandler } from 'express'
import helmet from 'helmet'

import { accountRoutes } from './accounts/routes.ts'
import { collectionOperations, collectionRoutes } from './api/collection-routes.ts'
import { keyOperations, keyRoutes } from './api/key-routes.ts'
import { openApiRoutes } from './api/openapi.ts'
import { policyOperations, policyRoutes } from './api/policy-routes.ts'
import { retentionOperations, retentionRoutes } from './api/retention-routes.ts'
import { tokenOperations, tokenRoutes } from './api/token-routes.ts'
import { trashOperations, trashRoutes } from './api/trash-routes.ts'
import { usageOperations, usageRoutes } from './api/usage-routes.ts'
import type { Appliance } from './appliance.ts'
import { hostRoutes } from './build-api/host-routes.ts'
import { OutputSockets } from './build-api/output-sockets.ts'
import type { OutputSocketTimes } from './build-api/output-sockets.ts'
import { buildRoutes, contextUploadRoutes } from './build-api/routes.ts'
import { runnerRoutes } from './build-api/runner-routes.ts'
import { discoveryRoutes } from './discovery/routes.ts'
import { enterpriseKeyRoutes } from './enterprise/key-routes.ts'
import { healthRoutes, reportRoutes } from './enterprise/report-routes.ts'
import { enterpriseTokenRoutes } from './enterprise/token-routes.ts'
import { userRoutes } from './enterprise/user-routes.ts'
import { notFound } from './failure.ts'
import { offerAccel } from './http/accel.ts'
import { identify, signedInOnly } from './http/actor.ts'
import { drainUnread } from './http/body.ts'
import { jsonErrors } from './http/problem.ts'
import { logRequests } from './http/request-log.ts'
import { measureRequests } from './http/request-meter.ts'
import { hkp2Routes } from './keystore/hkp2-routes.ts'
import { hkpRoutes } from './keystore/routes.ts'
import { libraryRoutes } from './library/routes.ts'
import { libraryTransferRoutes } from './library/transfer-routes.ts'
import { ociRoutes } from './oci/routes.ts'
import { registryTokenRoutes } from './oci/token-routes.ts'
import { probeRoutes } from './transfer/probe-routes.ts'
import { transferRoutes } from './transfer/routes.ts'
import { buildPages } from './ui/build-routes.tsx'
import { containerPages, publicPages } from './ui/routes.tsx'

export function createApp(appliance: Appliance): Express {
  const { config, log, registry, uploads, tokens, capabilities, signingKeys, builder } = appliance
  const defaults = {
    entity: config.library.defaultEntity,
    collection: config.library.defaultCollection,
  }
  const registryParts = {
    registry,
    artifacts: appliance.artifacts,
    blobUploads: appliance.blobUploads,
    imageChecks: appliance.imageChecks,
    tokens,
    registryTokens: appliance.registryTokens,
    defaults,
    anonymousPull: config.access.anonymousPull,
    registryUrl: config.services.registry,
    challenge: {
      realm: `${config.services.registry}/registry/token`,
      service: new URL(config.services.registry).host,
    },
    log,
  }
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.set('query parser', 'simple')
  app.set('trust proxy', config.isTrustedProxy)

  app.use(logRequests(log))
  app.use(measureRequests(appliance.meters))
  app.use(drainUnread())
  app.use(collapseLeadingSlashes)
  app.use(securityHeaders())
  app.use(offerAccel({ prefix: config.downloads.accel, isTrustedProxy: config.isTrustedProxy }))
  app.use(transferRoutes({ registry, uploads, capabilities, log }))
  app.use(probeRoutes(capabilities))
  app.use(contextUploadRoutes(builder.contexts, capabilities))
  app.use(
    runnerRoutes({
      jobs: builder.jobs,
      libraryUrl: config.services.library,
      registryUrl: config.services.registry,
      publicUrl: config.publicUrl,
    }),
  )
  app.use(hostRoutes(builder.hosts))
  app.use(registryTokenRoutes(registryParts))
  app.use(ociRoutes(registryParts))
  app.use(identify(tokens))
  app.use(discoveryRoutes(config, appliance.health))
  app.use(accountRoutes(tokens, signingKeys))
  app.use(healthRoutes())
  app.use(enterpriseTokenRoutes(appliance.tokenRegister, tokens))
  app.use(userRoutes(appliance.roster, appliance.quotas))
  app.use(
    buildRoutes({
      builds: builder.builds,
      contexts: builder.contexts,
      output: builder.output,
      capabilities,
      settings: config.builder,
      libraryUrl: config.services.library,
      builderUrl: config.services.builder,
      agents: builder.agents,
    }),
  )
  app.use(tokenRoutes(tokens, appliance.signIn))
  app.use(usageRoutes(registry, appliance.signIn))
  app.use(keyRoutes(appliance.keystore, registry))
  app.use(policyRoutes(appliance.policy))
  app.use(retentionRoutes(appliance.retention))
  app.use(trashRoutes(appliance.trash))
  app.use(hkpRoutes(appliance.keystore))
  app.use(hkp2Routes(appliance.keystore))
  app.use(enterpriseKeyRoutes(appliance.keystore))
  app.use(
    openApiRoutes(config.publicUrl, [
      ...tokenOperations,
      ...usageOperations,
      ...collectionOperations,
      ...keyOperations,
      ...policyOperations,
      ...retentionOperations,
      ...trashOperations,
    ]),
  )
  app.use(publicPages(config))
  app.use(
    buildPages({
      config,
      builds: builder.builds,
      output: builder.output,
      viewQueue: builder.viewQueue,
    }),
  )
  // Everything below reads or writes the library.
  if (!config.access.anonymousPull) app.use(signedInOnly())
  app.use(collectionRoutes(appliance.collectionAccess, defaults))
  app.use(reportRoutes(appliance.reports))
  app.use(libraryRoutes(registry, defaults))
  app.use(
    libraryTransferRoutes({
      registry,
      uploads,
      imageChecks: appliance.imageChecks,
      capabilities,
      libraryUrl: config.services.library,
      defaults,
      redirectFromBytes: config.library.redirectFromBytes,
    }),
  )
  app.use(containerPages(config, registry))
  app.use(() => {
    throw notFound('request', 'There is nothing at this address.')
  })
  app.use(jsonErrors(log))
  return app
}

/** The connections that become WebSockets. */
export function createSockets(
  { builder, tokens, log }: Appliance,
  times?: OutputSocketTimes,
): OutputSockets {
  const { builds, output, signals } = builder
  return new OutputSockets({ builds, output, signals, tokens, log, times })
}

/** An address that was configured with a trailing slash reaches us as `//version`. */
const collapseLeadingSlashes: RequestHandler = (req, _res, next) => {
  if (req.url.startsWith('//')) req.url = req.url.replace(/^\/+/, '/')
  next()
}

function securityHeaders(): RequestHandler {
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        styleSrc: ["'self'"],
        scriptSrc: ["'self'"],
        imgSrc: ["'self'", 'data:'],
        connectSrc: ["'self'"],
        baseUri: ["'none'"],
        formAction: ["'self'"],
        frameAncestors: ["'none'"],
      },
    },
    // The proxy that holds the certificate says so; on plain http it would be ignored anyway.
    strictTransportSecurity: false,
  })
}
