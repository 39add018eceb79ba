/* module_train.h: the trainer object, one fit, and what its binding files ask of one another: its
 * life and where it stands (module_trainer.c), its runs (module_train.c). */
#ifndef GD_MODULE_TRAIN_H
#define GD_MODULE_TRAIN_H

#include "module_network.h"
#include "module_optimizer.h"
#include "train.h"

typedef struct {
    PyObject_HEAD
    PyObject *network, *arguments, *params, *grads; /* what is borrowed, kept */
    optimizer *opt; /* NULL: the caller steps */
    given g;
    gd_fit fit;
    gd_place place;
    gd_watch watch;
    void **grad;
    void *memory;
    bool busy;
} trainer;

/* The method run, see gdcore/_trainer.py. */
PyObject *gd_trainer_run(PyObject *object, PyObject *args);

#endif
