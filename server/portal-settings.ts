/** [directory] with provider = "portal": a web address of the site that checks passwords. */
import { z } from 'zod'

import {
  acrossKeys,
  certificateFile,
  hostOf,
  isLoopback,
  line,
  seconds,
} from './directory-fields.ts'

export interface PortalSettings {
  readonly provider: 'portal'
  readonly url: string
  readonly format: 'form' | 'json' | 'basic'
  /** The fields of the request; unused with `basic`. */
  readonly request: { readonly name: string; readonly password: string }
  /** PEM; undefined: the authorities that Node trusts. */
  readonly ca: string | undefined
  /** The name that the certificate must have. */
  readonly certificateName: string
  /** What says that the password is right: this status and this value in this field, both. */
  readonly success: {
    readonly status: number
    readonly field: string
    readonly value: string | number | boolean
  }
  /** Statuses that say that name or password are wrong; all others mean that the portal is broken. */
  readonly refusedStatuses: readonly number[]
  /** Fields of the reply, with dots on the way into objects. */
  readonly reply: {
    readonly id: string
    readonly name: string
    readonly mail: string | undefined
    readonly fullName: string | undefined
    readonly groups: string | undefined
  }
  readonly lowercaseNames: boolean
  readonly timeoutMs: number
}

const status = z.number().int().min(200).max(599)
const field = z
  .string()
  .regex(/^[^.\p{Cc}]+(?:\.[^.\p{Cc}]+)*$/u, 'expected a field such as "user.id"')

const table = z
  .strictObject({
    provider: z.literal('portal'),
    url: z.url({ protocol: /^https?$/ }).transform((text) => new URL(text)),
    allow_plain: z.boolean().default(false),
    format: z.enum(['form', 'json', 'basic']),
    name_field: line.default('username'),
    password_field: line.default('password'),
    ca_file: certificateFile.optional(),
    server_name: line.optional(),
    success_status: status.default(200),
    success_field: field,
    success_value: z.union([z.string(), z.number(), z.boolean()]).default(true),
    refused_status: z.array(status).default([401, 403]),
    reply: z
      .strictObject({
        id: field.default('id'),
        name: field.default('name'),
        mail: field.optional(),
        full_name: field.optional(),
        groups: field.optional(),
      })
      .prefault({}),
    lowercase_names: z.boolean().default(true),
    timeout_seconds: seconds(5),
  })
  .check(acrossKeys(checkUrl), acrossKeys(checkStatuses))

type Table = z.infer<typeof table>
type Complain = (key: string, message: string) => void

export const portalTable = table.transform((data): PortalSettings => ({
  provider: 'portal',
  url: data.url.href,
  format: data.format,
  request: { name: data.name_field, password: data.password_field },
  ca: data.ca_file,
  certificateName: data.server_name ?? hostOf(data.url),
  success: { status: data.success_status, field: data.success_field, value: data.success_value },
  refusedStatuses: data.refused_status,
  reply: {
    id: data.reply.id,
    name: data.reply.name,
    mail: data.reply.mail,
    fullName: data.reply.full_name,
    groups: data.reply.groups,
  },
  lowercaseNames: data.lowercase_names,
  timeoutMs: data.timeout_seconds * 1000,
}))

function checkUrl({ url, allow_plain }: Partial<Table>, complain: Complain): void {
  if (!(url instanceof URL)) return
  if (url.username !== '' || url.password !== '' || url.hash !== '') {
    complain('url', 'has a user, a password or a fragment in it: leave them out')
  }
  if (url.protocol === 'https:' || (allow_plain === true && isLoopback(hostOf(url)))) return
  complain(
    'url',
    allow_plain === true
      ? 'without TLS passwords may go to this machine only (127.0.0.1, ::1, localhost)'
      : 'would carry passwords in clear: use https://',
  )
}

function checkStatuses(data: Partial<Table>, complain: Complain): void {
  const { success_status: success, refused_status: refused } = data
  if (success !== undefined && Array.isArray(refused) && refused.includes(success)) {
    complain('refused_status', 'has the status in it that means success')
  }
  if (data.name_field !== undefined && data.name_field === data.password_field) {
    complain('password_field', 'is the field of the name already')
  }
}
