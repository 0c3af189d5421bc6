import type { Command } from '../command.ts'
import { deleteImages } from './image/delete.ts'
import { deleted, purge, restore } from './image/deleted.ts'
import { list, show } from './image/list.ts'

export const imageCommand: Command = {
  name: 'image',
  summary: 'the images of the library, and those that were deleted',
  verbs: [list, show, deleteImages, deleted, restore, purge],
  notes:
    'A deleted image is off the quota at once and can be restored for library.undelete_days. Restoring needs room in the quota; a tag that names another image by now stays there. After a purge the bytes leave the disk with the next "berthctl gc", except those that were deleted within storage.grace_hours: downloads of them may still run.',
}
