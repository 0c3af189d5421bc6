import { Router } from 'express'

/** One address, one spelling: `/V1/entities` and `/UL/…` are nothing, and no rule has to know them. */
export function newRouter(): Router {
  return Router({ caseSensitive: true, strict: true })
}
