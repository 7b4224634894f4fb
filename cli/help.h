#ifndef CLI_HELP_H
#define CLI_HELP_H

extern const char help_all[], help_run[], help_probe[], help_check[], help_build[], help_control[];

#endif
