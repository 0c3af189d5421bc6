/**
 * Request bodies that are not read, or not at once. Uploads are admitted before their bytes move:
 * `Expect: 100-continue` is answered by whoever wants the body, and a body that nobody wanted is
 * drained a little after the reply, so that the client reads the reply instead of a reset.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'

import type { Request, RequestHandler, Response } from 'express'

import { invalid } from '../failure.ts'

const awaiting = new WeakSet<IncomingMessage>()
const drainBytes = 1 << 20
const drainMs = 5_000

/** Makes the server leave `100 Continue` to the routes. */
export function deferContinue(server: Server): void {
  server.on('checkContinue', (req: IncomingMessage, res: ServerResponse) => {
    awaiting.add(req)
    server.emit('request', req, res)
  })
}

/**
 * The body of the request; the client is asked for it when the first byte is wanted, so that a
 * refusal goes out before. The request survives an iteration that stops early: it gets a reply.
 */
export function takeBody(req: Request, res: Response): AsyncIterable<Buffer> {
  return {
    [Symbol.asyncIterator]: () => {
      admitBody(req, res)
      const pieces = req.iterator({ destroyOnReturn: false }) as AsyncIterableIterator<Buffer>
      return pieces[Symbol.asyncIterator]()
    },
  }
}

/** Tells a client that waits for it to go on with the body. */
export function admitBody(req: Request, res: Response): void {
  if (awaiting.delete(req)) res.writeContinue()
}

/** The announced length in bytes; undefined for a chunked body. */
export function contentLength(req: Request): number | undefined {
  const text = req.get('content-length')
  if (text === undefined) return undefined
  const length = Number(text)
  if (Number.isSafeInteger(length) && length >= 0) return length
  throw invalid('request', 'The Content-Length is not a number of bytes.')
}

/** After an early reply: reads on for a bounded while, then ends the connection. */
export function drainUnread(): RequestHandler {
  return (req, res, next) => {
    res.once('finish', () => {
      if (req.complete || req.destroyed) return
      const timer = setTimeout(() => req.destroy(), drainMs).unref()
      let drained = 0
      req.on('data', (piece: Buffer) => {
        drained += piece.length
        if (drained > drainBytes) req.destroy()
      })
      req.on('error', () => {})
      req.once('close', () => clearTimeout(timer))
      req.resume()
    })
    next()
  }
}
