/** Lists in pages: `n` and `last`, and the Link to the next one (distribution-spec, end-8b). */
import type { Request, Response } from 'express'

import { invalid } from '../failure.ts'
import { queryOf } from '../http/parse.ts'

/** Nothing is made for more than this, whatever was asked for (CVE-2023-2253). */
const maxPage = 1000

export interface Page {
  readonly last: string
  readonly limit: number
  /** Of one more than the limit: what goes into the reply, and the Link when something is left. */
  cut<Item extends string>(res: Response, found: readonly Item[], path: string): readonly Item[]
}

export function pageOf(req: Request): Page {
  const text = queryOf(req, 'n')
  if (text !== undefined && !/^\d{1,9}$/.test(text)) {
    throw invalid('request', '"n" is not a number of entries.')
  }
  const limit = Math.min(text === undefined ? maxPage : Number(text), maxPage)
  return {
    last: queryOf(req, 'last') ?? '',
    limit,
    cut: (res, found, path) => {
      const page = found.slice(0, limit)
      const last = page.at(-1)
      if (found.length > limit && last !== undefined) {
        const query = new URLSearchParams({ n: String(limit), last })
        res.set('Link', `<${path}?${query.toString()}>; rel="next"`)
      }
      return page
    },
  }
}
