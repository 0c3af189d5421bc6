/** What happens while a directory is asked, step by step, for `berthctl directory test`. No secrets. */
import type { Bar } from './account-state.ts'
import type { FoundGroup } from './group-lookup.ts'
import type { Person } from './person.ts'
import type { TlsPeer } from './tls-peer.ts'

export type Step =
  | { readonly step: 'server'; readonly url: string; readonly failure?: string }
  | { readonly step: 'certificate'; readonly peer: TlsPeer }
  | { readonly step: 'service-bind'; readonly as: string }
  | {
      readonly step: 'search'
      readonly base: string
      readonly filter: string
      readonly found: readonly string[]
      readonly references: readonly string[]
    }
  /** The attributes that were looked at; an empty list where there is none or Berth may not read it. */
  | {
      readonly step: 'entry'
      readonly dn: string
      readonly attributes: Readonly<Record<string, readonly string[]>>
    }
  | { readonly step: 'person'; readonly person: Person | { readonly malformed: string } }
  | {
      readonly step: 'state'
      readonly barred: Bar | undefined
      readonly attemptsLock: Bar | undefined
      readonly passwordExpired: string | undefined
    }
  | { readonly step: 'groups'; readonly method: string; readonly groups: readonly FoundGroup[] }
  | { readonly step: 'password-bind'; readonly as: string; readonly result: string }
  | { readonly step: 'reply'; readonly status: number; readonly fields: readonly string[] }

export type Report = (step: Step) => void

export const noReport: Report = () => {}
