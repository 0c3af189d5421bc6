import { z } from 'zod'

import { refusalOf } from '../endpoint.ts'
import { CommandError } from '../exit.ts'
import { printable } from '../printable.ts'
import type { PasswordSession } from './password-session.ts'

const text = z.string().transform(printable)
const token = z.looseObject({
  id: text,
  label: text,
  scope: text.default('all'),
  issuedAt: z.iso.datetime(),
  expiration: z.iso.datetime(),
  isRevoked: z.boolean(),
  lastUsedAt: z.iso.datetime().nullable().default(null),
  lastUsedFrom: text.nullable().default(null),
})

export type ListedToken = z.infer<typeof token>

/** Live tokens of the account in the order of their issue; with `all`, those that are over as well. */
export async function listedTokens(
  session: PasswordSession,
  options: { readonly all?: boolean } = {},
): Promise<readonly ListedToken[]> {
  const reply = await session.send(`/api/v1/tokens${options.all === true ? '?all=true' : ''}`)
  const parsed = z.looseObject({ data: z.array(token) }).safeParse(reply.json)
  if (parsed.success) return parsed.data.data
  throw new CommandError(`The tokens could not be listed: ${refusalOf(reply)}`)
}
