import type { Command } from '../command.ts'
import { recount } from './quota/recount.ts'
import { reset, set } from './quota/set.ts'
import { list, show } from './quota/show.ts'

export const quotaCommand: Command = {
  name: 'quota',
  summary: 'what the spaces may hold, and what they are charged',
  verbs: [list, show, set, reset, recount],
}
