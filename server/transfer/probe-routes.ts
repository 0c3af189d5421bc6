/**
 * `/ul/probe/…`: what has become of a request on its way through the proxy, for `berthctl doctor`. The
 * address is a right that the host gives itself (it lives for minutes); the reply has nothing in it but
 * what the asker has sent. It goes out with the first bytes of the body, so that a proxy which collects
 * bodies is seen by its silence, or after a while, for those that cut what takes long.
 */
import { setTimeout } from 'node:timers/promises'

import type { Request, Response, Router } from 'express'

import type { Capabilities } from '../capability.ts'
import { denied } from '../failure.ts'
import { takeBody } from '../http/body.ts'
import { newRouter } from '../http/router.ts'

export interface ProbeReply {
  /** Where the server believes the request to come from. */
  readonly address: string | undefined
  /** As it arrived, behind the right. */
  readonly rest: string
}

export function probeRoutes(capabilities: Capabilities): Router {
  const router = newRouter()
  const answer = async (req: Request<{ sealed: string }>, res: Response): Promise<void> => {
    const { sealed } = req.params
    const right = capabilities.openProbe(sealed)
    if (right === undefined) throw denied('upload', 'This address is not valid (any more).')
    await takeBody(req, res)[Symbol.asyncIterator]().next()
    // A listener closes connections on which nothing moves; this one is to stand still.
    req.setTimeout(right.holdMs + 30_000)
    const gone = new AbortController()
    res.once('close', () => gone.abort())
    await setTimeout(right.holdMs, undefined, { signal: gone.signal }).catch(() => {})
    const marker = `${sealed}/`
    const rest = req.originalUrl.slice(req.originalUrl.indexOf(marker) + marker.length)
    const reply: ProbeReply = { address: req.ip, rest }
    res.json({ data: reply })
  }
  router.put('/ul/probe/:sealed/*rest', answer)
  return router
}
