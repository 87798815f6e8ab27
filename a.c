#include <stdint.h>
#include <stdbool.h>

enum temp_state { TEMP_OK, TEMP_OUT, TEMP_FAULT };

/* placeholders: compute them for your divider and tolerances */
#define ADC_SHORT     40u
#define ADC_HOT     1300u   /* 45 C */
#define ADC_COLD    3000u   /*  0 C */
#define ADC_OPEN    4055u

enum temp_state classify(uint16_t adc, bool fresh)
{
    if (!fresh || adc < ADC_SHORT || adc > ADC_OPEN)
        return TEMP_FAULT;
    if (adc < ADC_HOT || adc > ADC_COLD)
        return TEMP_OUT;
    return TEMP_OK;
}
