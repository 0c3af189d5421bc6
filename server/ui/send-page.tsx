/** How pages leave: HTML without a line of script, and what went wrong as a page too. */
import type { Response } from 'express'
import type { VNode } from 'preact'
import { renderToString } from 'preact-render-to-string'

import type { Config } from '../config.ts'
import { problemOf } from '../http/problem.ts'
import { ProblemPage } from './pages.tsx'
import type { Site } from './pages.tsx'

export function siteOf(config: Config): Site {
  return { name: config.siteName, url: config.publicUrl }
}

export function sendPage(res: Response, page: VNode): void {
  res.type('html').send(`<!doctype html>${renderToString(page)}`)
}

/** Throws again what is a fault of the server. */
export function sendProblem(res: Response, site: Site, error: unknown, hint?: string): void {
  const { status, message } = problemOf(error)
  if (status >= 500) throw error
  sendPage(res.status(status), <ProblemPage site={site} message={message} hint={hint} />)
}
