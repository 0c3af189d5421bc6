/**
 * The capability URLs `/dl/…` and `/ul/…`. The address is the right; an Authorization header may
 * come along or not (protocol.md 5.6) and is not looked at.
 *
 * A download that cannot be served is answered by a dropped connection: the stock client writes
 * whatever body a range request returns into the image (scs-library-client client/downloader.go),
 * so an error page would corrupt a container silently.
 */
import type { ErrorRequestHandler, Request, Response, Router } from 'express'

import type { Capabilities } from '../capability.ts'
import { blobPath } from '../content/blob-path.ts'
import { parseDigest } from '../content/names.ts'
import type { Registry } from '../content/registry.ts'
import type { Uploads } from '../content/uploads.ts'
import { denied, Failure } from '../failure.ts'
import { contentLength, takeBody } from '../http/body.ts'
import { requestIdOf } from '../http/request-log.ts'
import { newRouter } from '../http/router.ts'
import { sendBlob } from '../http/send-blob.ts'
import type { Log } from '../log.ts'

export interface TransferParts {
  readonly registry: Registry
  readonly uploads: Uploads
  readonly capabilities: Capabilities
  readonly log: Log
}

export function transferRoutes(parts: TransferParts): Router {
  const { registry, uploads, capabilities, log } = parts
  const router = newRouter()

  const download = async (req: Request<{ sealed: string }>, res: Response): Promise<void> => {
    const right = capabilities.openDownload(req.params.sealed)
    if (right === undefined) throw denied('blob', 'This download address is not valid (any more).')
    const digest = parseDigest(right.digest)
    const file = await registry.openBlob(digest, right.size)
    const stored = blobPath(digest)
    await sendBlob(req, res, file, { size: right.size, etag: digest, stored })
  }
  router.get('/dl/:sealed', download)
  router.use('/dl', dropConnection(log))

  // Exactly 200 is success for the client, and the body of an error is not shown to anybody.
  router.put('/ul/:sealed', async (req, res) => {
    const right = capabilities.openUpload(req.params.sealed)
    if (right === undefined) throw denied('upload', 'This upload address is not valid (any more).')
    const body = takeBody(req, res)
    const length = contentLength(req)
    if (right.part === 0) {
      await uploads.receiveWhole(right.upload, body, length)
    } else {
      res.set('ETag', await uploads.receivePart(right.upload, right.part, body, length))
    }
    res.status(200).end()
  })

  return router
}

function dropConnection(log: Log): ErrorRequestHandler {
  return (error: unknown, req, _res, _next) => {
    const fields = { err: error, 'request.id': requestIdOf(req) }
    if (error instanceof Failure) log.info(fields, 'a download was refused')
    else log.error(fields, 'a download failed')
    req.socket.destroy()
  }
}
