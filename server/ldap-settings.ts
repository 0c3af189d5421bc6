/** [directory] with provider = "ldap": OpenLDAP, Active Directory, FreeIPA and their relatives. */
import { z } from 'zod'

import {
  acrossKeys,
  certificateFile,
  hostOf,
  isLoopback,
  line,
  secretFile,
  seconds,
} from './directory-fields.ts'
import type { Secret } from './secret.ts'

export type Preset = 'openldap' | 'activedirectory' | 'freeipa'
type GroupMethod = 'member_of' | 'search' | 'nested' | 'none'
type MemberAttribute = 'member' | 'uniqueMember' | 'memberUid'

export interface LdapServer {
  readonly url: string
  readonly host: string
  readonly port: number
  /** `tls` from the first byte, `start-tls` before anything else, `none` to this machine only. */
  readonly security: 'tls' | 'start-tls' | 'none'
  /** The name that the certificate must have. */
  readonly certificateName: string
}

export interface LdapSettings {
  readonly provider: 'ldap'
  readonly preset: Preset
  /** In the order in which they are asked. */
  readonly servers: readonly LdapServer[]
  /** PEM; undefined: the authorities that Node trusts. */
  readonly ca: string | undefined
  /** The account that searches; undefined: nobody in particular. */
  readonly service: { readonly dn: string; readonly password: Secret } | undefined
  /** Below which people are searched; undefined only with directBind. */
  readonly base: string | undefined
  readonly userFilter: string | undefined
  readonly attributes: {
    readonly name: string
    readonly id: string
    readonly mail: string
    readonly fullName: string
  }
  readonly lowercaseNames: boolean
  /** The name that a person binds with, with {user} in it; undefined: the entry is searched first. */
  readonly directBind: string | undefined
  /** For a whole sign-in, whatever the number of servers. */
  readonly timeoutMs: number
  readonly groups: {
    readonly method: GroupMethod
    readonly base: string | undefined
    readonly filter: string | undefined
    readonly memberAttribute: MemberAttribute
    readonly nameAttribute: string
  }
  readonly state: {
    readonly shadowExpire: boolean
    readonly nologinShells: boolean
    readonly disabled:
      | { readonly attribute: string; readonly values: readonly string[] }
      | undefined
  }
}

const presets = {
  openldap: {
    attributes: { name: 'uid', id: 'entryUUID', mail: 'mail', fullName: 'cn' },
    filter: undefined,
    groups: 'none',
  },
  activedirectory: {
    attributes: {
      name: 'sAMAccountName',
      id: 'objectGUID',
      mail: 'mail',
      fullName: 'displayName',
    },
    filter: '(&(objectCategory=person)(objectClass=user))',
    groups: 'member_of',
  },
  freeipa: {
    attributes: { name: 'uid', id: 'ipaUniqueID', mail: 'mail', fullName: 'cn' },
    filter: undefined,
    groups: 'member_of',
  },
} as const

const attribute = z.string().regex(/^[a-zA-Z][a-zA-Z0-9-]*$/, 'expected the name of an attribute')
const dn = line.regex(/^[^=]+=/, 'expected a distinguished name such as "dc=example,dc=org"')

/** Well-formed as far as its parentheses go; those within values are written \28 and \29. */
const filter = line.refine((text) => {
  let depth = 0
  for (const [index, letter] of text.split('').entries()) {
    if (letter === '(') depth += 1
    if (letter === ')') depth -= 1
    if (depth < 0 || (depth === 0 && index < text.length - 1)) return false
  }
  return depth === 0 && /^\([^()]|^\([&|!]/.test(text) && !text.includes('()')
}, 'expected one filter in parentheses, such as "(objectClass=person)"')

const server = line.transform((text, context) => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isWhole = url !== undefined && /^ldaps?:\/\/[^/?#@]+\/?$/i.test(text) && url.hostname !== ''
  if (isWhole) return url
  context.addIssue({
    code: 'custom',
    message: `expected ldaps://host, ldap://host or one of them with a port, not "${text}"`,
  })
  return z.NEVER
})

const table = z
  .strictObject({
    provider: z.literal('ldap'),
    preset: z.enum(['openldap', 'activedirectory', 'freeipa']),
    servers: z.array(server).min(1),
    start_tls: z.boolean().default(false),
    allow_plain: z.boolean().default(false),
    ca_file: certificateFile.optional(),
    server_name: line.optional(),
    bind_dn: line.optional(),
    bind_password_file: secretFile.optional(),
    base: dn.optional(),
    user_filter: filter.optional(),
    name_attribute: attribute.optional(),
    id_attribute: attribute.optional(),
    mail_attribute: attribute.optional(),
    full_name_attribute: attribute.optional(),
    lowercase_names: z.boolean().default(true),
    direct_bind: line
      .refine((text) => text.split('{user}').length === 2, 'expected a name with one {user} in it')
      .optional(),
    timeout_seconds: seconds(8),
    groups: z
      .strictObject({
        method: z.enum(['member_of', 'search', 'nested', 'none']),
        base: dn.optional(),
        filter: filter.optional(),
        member_attribute: z.enum(['member', 'uniqueMember', 'memberUid']).default('member'),
        name_attribute: attribute.default('cn'),
      })
      .optional(),
    state: z
      .strictObject({
        shadow_expire: z.boolean().default(false),
        nologin_shells: z.boolean().default(false),
        disabled_attribute: attribute.optional(),
        disabled_values: z.array(line).default([]),
      })
      .prefault({}),
  })
  .check(acrossKeys(checkTransport), acrossKeys(checkSearch), acrossKeys(checkGroups))

type Table = z.infer<typeof table>
type Complain = (key: string, message: string) => void

export const ldapTable = table.transform((data): LdapSettings => {
  const preset = presets[data.preset]
  return {
    provider: 'ldap',
    preset: data.preset,
    servers: data.servers.map((url) => serverOf(url, data)),
    ca: data.ca_file,
    service:
      data.bind_dn === undefined || data.bind_password_file === undefined
        ? undefined
        : { dn: data.bind_dn, password: data.bind_password_file },
    base: data.base,
    userFilter: data.user_filter ?? preset.filter,
    attributes: {
      name: data.name_attribute ?? preset.attributes.name,
      id: data.id_attribute ?? preset.attributes.id,
      mail: data.mail_attribute ?? preset.attributes.mail,
      fullName: data.full_name_attribute ?? preset.attributes.fullName,
    },
    lowercaseNames: data.lowercase_names,
    directBind: data.direct_bind,
    timeoutMs: data.timeout_seconds * 1000,
    groups: {
      method: data.groups?.method ?? preset.groups,
      base: data.groups?.base,
      filter: data.groups?.filter,
      memberAttribute: data.groups?.member_attribute ?? 'member',
      nameAttribute: data.groups?.name_attribute ?? 'cn',
    },
    state: {
      shadowExpire: data.state.shadow_expire,
      nologinShells: data.state.nologin_shells,
      disabled:
        data.state.disabled_attribute === undefined
          ? undefined
          : { attribute: data.state.disabled_attribute, values: data.state.disabled_values },
    },
  }
})

function serverOf(url: URL, data: Table): LdapServer {
  const isTls = url.protocol === 'ldaps:'
  return {
    url: url.href.replace(/\/$/, ''),
    host: hostOf(url),
    port: url.port === '' ? (isTls ? 636 : 389) : Number(url.port),
    security: isTls ? 'tls' : data.start_tls ? 'start-tls' : 'none',
    certificateName: data.server_name ?? hostOf(url),
  }
}

function checkTransport(data: Partial<Table>, complain: Complain): void {
  const urls = Array.isArray(data.servers) ? data.servers.filter((url) => url instanceof URL) : []
  const plain = urls.filter((url) => url.protocol === 'ldap:')
  if (data.start_tls === true) {
    if (plain.length === 0 && urls.length > 0) {
      complain('start_tls', 'is for ldap:// addresses: ldaps:// has TLS from the first byte')
    }
    return
  }
  for (const url of plain) {
    if (data.allow_plain === true && isLoopback(hostOf(url))) continue
    complain(
      'servers',
      data.allow_plain === true
        ? `${url.href}: without TLS passwords may go to this machine only (127.0.0.1, ::1, localhost)`
        : `${url.href} would carry passwords in clear: use ldaps:// or start_tls = true`,
    )
  }
}

function checkSearch(data: Partial<Table>, complain: Complain): void {
  if ((data.bind_dn === undefined) !== (data.bind_password_file === undefined)) {
    const missing = data.bind_dn === undefined ? 'bind_dn' : 'bind_password_file'
    complain(missing, 'bind_dn and bind_password_file belong together')
  }
  if (data.base !== undefined) return
  if (data.direct_bind === undefined) {
    complain(
      'base',
      'say where people are searched (base), or which name they bind with (direct_bind)',
    )
  } else if (data.bind_dn !== undefined || !isDnTemplate(data.direct_bind)) {
    complain('base', 'is needed, because the entry of a person has to be searched')
  }
}

function checkGroups(data: Partial<Table>, complain: Complain): void {
  const { groups, state } = data
  if (groups?.method === 'search' || groups?.method === 'nested') {
    if (groups.base === undefined) complain('groups.base', 'say where groups are searched')
  }
  if (groups?.method === 'nested' && groups.member_attribute === 'memberUid') {
    complain('groups.member_attribute', 'memberUid holds names of people, so groups cannot nest')
  }
  const disabled = state?.disabled_attribute
  if (state && (disabled === undefined) !== ((state.disabled_values?.length ?? 0) === 0)) {
    complain('state.disabled_attribute', 'disabled_attribute and disabled_values belong together')
  }
}

/** Whether a name to bind with is a distinguished name, or else one such as {user}@example.org. */
export function isDnTemplate(template: string): boolean {
  return /^[a-zA-Z][a-zA-Z0-9-]*=/.test(template)
}
