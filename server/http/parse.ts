/** Requests into typed values, or `invalid`: inner code never sees input that it must doubt. */
import express from 'express'
import type { Request, RequestHandler } from 'express'
import type { z } from 'zod'

import { invalid } from '../failure.ts'
import { admitBody } from './body.ts'

/** Library clients send JSON without a content type (protocol.md 0.1): the route decides. */
export function jsonBody(limit = '100kb'): RequestHandler {
  const json = express.json({ type: () => true, limit, strict: true })
  return (req, res, next) => {
    admitBody(req, res)
    json(req, res, next)
  }
}

/** HTML forms, which are what OAuth-like services take. */
export function formBody(limit = '100kb'): RequestHandler {
  const form = express.urlencoded({ extended: false, limit })
  return (req, res, next) => {
    admitBody(req, res)
    form(req, res, next)
  }
}

/** Any bytes, as one Buffer. */
export function rawBody(limit: string): RequestHandler {
  const raw = express.raw({ type: () => true, limit })
  return (req, res, next) => {
    admitBody(req, res)
    raw(req, res, next)
  }
}

export function parse<Value>(schema: z.ZodType<Value>, value: unknown): Value {
  const parsed = schema.safeParse(value ?? {})
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const place = issue?.path.join('.') ?? ''
  throw invalid('request', place === '' ? `${issue?.message}.` : `"${place}": ${issue?.message}.`)
}

/** What a `*name` in a route matched: segments are decoded, so `a%2Fb` and `a/b` give the same. */
export function splat(req: Request, name: string): string {
  const value: unknown = (req.params as Record<string, unknown>)[name]
  const text = Array.isArray(value) ? value.join('/') : typeof value === 'string' ? value : ''
  if (text.length > 1024) throw invalid('request', 'The path is too long.')
  return text
}

/** One query parameter; a repeated one is refused. */
export function queryOf(req: Request, name: string): string | undefined {
  const value: unknown = req.query[name]
  if (value === undefined || typeof value === 'string') return value === '' ? undefined : value
  throw invalid('request', `"${name}" may be given once.`)
}

/** A query parameter that is true or false; undefined when it is not there. */
export function flagOf(req: Request, name: string): boolean | undefined {
  const text = queryOf(req, name)
  if (text === undefined) return undefined
  if (text === 'true') return true
  if (text === 'false') return false
  throw invalid('request', `"${name}" is true or false.`)
}
